//! What the integration tests stand on.

mod answers;
mod browser;
mod house;
mod mcp;
mod random;

pub(crate) use answers::{document, masked, replace, without};
pub(crate) use browser::{Answer, Browser};
pub(crate) use house::{CALLBACK, Client, MCP, ORIGIN, TestHouse, Tokens};
pub(crate) use mcp::{CHALLENGE, MODERN, tool_call};
pub(crate) use random::SeededRandom;
