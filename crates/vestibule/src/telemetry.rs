//! stub
use vestibule_oauth::random::Random;
/// x
#[derive(Debug)]
pub struct ReferenceId(String);
impl ReferenceId { /// x
 pub fn new(r:&dyn Random)->Self{Self(r.token(8))} /// x
 pub fn as_str(&self)->&str{&self.0}}
impl std::fmt::Display for ReferenceId { fn fmt(&self,f:&mut std::fmt::Formatter<'_>)->std::fmt::Result{f.write_str(&self.0)}}
