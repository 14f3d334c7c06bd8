//! What the integration tests stand on.

mod answers;
mod browser;
mod faulty_store;
mod house;
mod mcp;
mod origin;
mod place;
mod random;

pub(crate) use answers::{document, masked, replace, without};
pub(crate) use browser::{Answer, Browser, whole};
pub(crate) use faulty_store::{FaultyStore, Trouble};
pub(crate) use house::{CALLBACK, Client, MCP, ORIGIN, TestHouse, Tokens};
pub(crate) use mcp::{CHALLENGE, MODERN, tool_call};
pub(crate) use origin::ClientSite;
pub(crate) use place::Place;
pub(crate) use random::SeededRandom;
