//! The street outside the house: doubles of the systems Vestibule meets, for `vestibule dev`, tests and benches only.
//!
//! Nothing here is fit to protect anything: users, passwords and secrets are constants, and every
//! listener refuses to bind to an address that is not loopback.

pub mod cognito;
pub mod demo;

mod serve;
