//! What the integration tests stand on.

mod browser;
mod house;
mod random;

pub use browser::{Answer, Browser};
pub use house::{CALLBACK, Client, MCP, ORIGIN, TestHouse, Tokens};
pub use random::SeededRandom;
