//! Tests of the authorize endpoint; being written.
