//! Integration tests of the house.

mod proxy;
