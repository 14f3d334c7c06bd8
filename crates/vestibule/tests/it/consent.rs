//! Tests of the consent endpoint; being written.
