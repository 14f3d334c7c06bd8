//! Tests of the gateway endpoint; being written.
