//! `POST /token`: redemption with every binding, refresh, faults of the provider, and each error code (RFC 6749 §4.1.3,
//! §5.2, §6), and what the tokens are worth.

mod fake_provider;
mod formats;
mod id_token;
mod provider_faults;
mod redeem;
mod refresh;
mod request;
