//! What `docs/conformance.md` promises and no other module shows: a sign-in as each protocol revision describes it, the
//! callbacks of clients that cannot be run here, and clients that live in a web page.

mod clients;
mod revisions;
