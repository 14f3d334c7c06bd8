//! Nobody is logged out (design §5): grants in a store under races, crashes, faults of provider and store, and thieves.

mod carried;
mod crashes;
mod faults;
mod model;
mod moving;
mod provider_end;
mod races;
mod replay;
mod revocation;
pub(crate) mod rig;
