//! Skeleton.

pub mod proxy;
