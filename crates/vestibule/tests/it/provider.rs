//! Providers: several at once, what they are handed, userinfo, OAuth without OpenID Connect, scopes, sign-out.

mod chooser;
mod github;
mod logout;
mod passing;
mod rig;
mod scopes;
mod userinfo;
