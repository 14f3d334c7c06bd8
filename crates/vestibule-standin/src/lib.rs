//! Skeleton.
pub mod demo;
