//! Tests of the replicas endpoint; being written.
