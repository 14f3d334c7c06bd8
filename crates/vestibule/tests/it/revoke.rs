//! Tests of the revoke endpoint; being written.
