//! Integration tests of the house: one binary, one module per endpoint or story. Everything runs in one process: the
//! Cognito stand-in, the demo MCP server, and the house behind its router, with a clock that stands and seeded randomness.

mod support;

mod authorize;
mod callback;
mod consent;
mod discovery;
mod gateway;
mod register;
mod replicas;
mod revoke;
mod token;
