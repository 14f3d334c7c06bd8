//! Tests of the register endpoint; being written.
