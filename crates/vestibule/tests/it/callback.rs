//! Tests of the callback endpoint; being written.
