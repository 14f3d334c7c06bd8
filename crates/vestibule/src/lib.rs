//! The house: an authorization server and gateway between MCP clients and an MCP server behind an OpenID provider.

pub mod keys;
pub mod serve;
pub mod settings;
pub mod telemetry;
#[cfg(test)]
mod test_directory;
