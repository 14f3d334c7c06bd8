//! The house: an authorization server and gateway between MCP clients and an MCP server behind an OpenID provider.

pub mod keys;
pub mod settings;
#[cfg(test)]
mod test_directory;
