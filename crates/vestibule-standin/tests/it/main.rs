//! The stand-in over HTTP, rule by rule (facts/cognito §4.3). A test named `assumption` checks what nobody has confirmed.

#[cfg(test)]
mod authorize;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod session;
#[cfg(test)]
mod token;
