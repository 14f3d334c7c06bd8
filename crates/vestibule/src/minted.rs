//! Signed tokens that are used for more than one request: a signature costs more than the rest of the request.

use http::HeaderValue;
use vestibule_guard::Recent;

/// Signed tokens, as the values of headers, by what they were made from: some two kilobytes each. A key must say all that
/// stands in the token: the id of an access token does, because what an access token says does not change.
pub type Minted<K> = Recent<K, HeaderValue>;
