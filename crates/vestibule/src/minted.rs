//! Signed tokens that are used for more than one request: a signature costs more than the rest of the request.

use http::HeaderValue;
use vestibule_guard::Recent;
use vestibule_oauth::time::UnixTime;

/// Signed tokens as the values of headers, some two kilobytes each, by the id of the access token that they were made from:
/// what an access token says does not change.
#[derive(Debug, Default)]
pub struct Minted(Recent<String, HeaderValue>);

impl Minted {
    /// The one for this access token; otherwise what `sign` gives, with the moment until when it may be used again.
    ///
    /// # Errors
    ///
    /// Those of `sign`.
    pub fn get_or_sign<E>(
        &self,
        token_id: &str,
        now: UnixTime,
        sign: impl FnOnce() -> Result<(HeaderValue, UnixTime), E>,
    ) -> Result<HeaderValue, E> {
        if let Some(value) = self.0.get(token_id, now) {
            return Ok(value);
        }
        let (value, again_until) = sign()?;
        self.0.put(token_id.to_owned(), value.clone(), again_until);
        Ok(value)
    }
}
