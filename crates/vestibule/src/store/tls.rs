//! What a TLS error of a store's server means to the operator: which setting is wrong.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::CertificateError;

use super::StoreError;

/// What to do, if TLS is why `server` was not reached. `plain` is what the URL says for a server without TLS.
pub(super) fn explain(
    server: &str,
    plain: &str,
    error: &(dyn Error + 'static),
) -> Option<StoreError> {
    let error = find(error)?;
    let misconfigured = |why: String| Some(StoreError::Misconfigured(format!("{why} ({error})")));
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            misconfigured(format!(
                "the certificate of {server} was made by an authority that is not known here; write the authority's \
                 certificate into a file (PEM) and name it in `store.ca_file`"
            ))
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => misconfigured(format!(
            "the certificate of {server} is for another name; name the host in `store.url` as the certificate does"
        )),
        // It passes when the certificate is renewed, or the clock is set.
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Some(StoreError::Unavailable(format!(
            "the certificate of {server} is not valid at this time ({error})"
        ))),
        rustls::Error::InvalidCertificate(_) => misconfigured(format!(
            "the certificate of {server} cannot be accepted; `store.ca_file` names the authority that made it, which is \
             not the certificate itself"
        )),
        rustls::Error::InvalidMessage(_) => misconfigured(format!(
            "{server} speaks no TLS at this port; name the port that does, or write {plain}"
        )),
        _ => None,
    }
}

/// Libraries wrap it in errors of input and output, which do not give it as their source, and share those.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let shared = shared.map(|inner| inner.as_ref() as &'a (dyn Error + 'static));
        let wrapped = error.downcast_ref::<io::Error>();
        let wrapped = wrapped.and_then(io::Error::get_ref);
        let wrapped = wrapped.map(|inner| inner as &'a (dyn Error + 'static));
        next = shared.or(wrapped).or_else(|| error.source());
    }
    None
}
