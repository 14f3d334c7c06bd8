//! `ANY /mcp`: who comes in, what goes through, and what never does (design laws 2, 3, 10, 11).

mod credentials;
mod doors;
mod identity;
mod protocol;
#[cfg(feature = "aws")]
mod sigv4;
mod streams;
