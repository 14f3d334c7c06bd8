//! Who may come in: the one admin token as `Authorization: Bearer`, never in a query, never from a web page.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::answer::AdminError;
use crate::House;
use crate::audit::{Event, Happened};
use crate::metrics::Exchange;
use crate::metrics::labels::Route;
use crate::routes::is_named_loopback;
use crate::telemetry::Told;

/// Lets a request through, or answers it.
pub(super) async fn guard(
    State(house): State<Arc<House>>,
    request: Request,
    next: Next,
) -> Response {
    let exchange = Exchange::at(Route::Admin, &request);
    let response = match admit(&house, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let response = error.respond(&house);
            let source = house.source(&request);
            let event = Event::new(Happened::AdminRefused).from(&source);
            house.tell_audit(&event.told(Told::of(&response)));
            response
        }
    };
    exchange.end(&house, &response);
    response
}

/// A right token is never kept waiting by those who try wrong ones: at this length nobody gets there by trying, and
/// nobody can lock the operator out.
fn admit(house: &House, request: &Request) -> Result<(), AdminError> {
    let headers = request.headers();
    if is_from_a_page(headers) || !is_named_loopback(request) {
        return Err(AdminError::Page);
    }
    let presented = bearer(headers);
    let configured = house.settings().admin.as_ref();
    let hash = |text: &str| digest(&SHA256, text.as_bytes());
    let right = configured.zip(presented).is_some_and(|(own, presented)| {
        let (own, presented) = (hash(own.token.expose()), hash(presented));
        verify_slices_are_equal(own.as_ref(), presented.as_ref()).is_ok()
    });
    if right {
        return Ok(());
    }
    house.limits().wrong_token().map_err(AdminError::TooMany)?;
    Err(if presented.is_some() {
        AdminError::WrongToken
    } else {
        AdminError::NoToken
    })
}

/// Browsers say where a request comes from; programs do not. A name other than this computer's is a page's as well: its
/// name was made to lead here (DNS rebinding).
fn is_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(ORIGIN)
        || site.is_some_and(|site| site != "none")
        || headers.get_all(HOST).iter().count() > 1
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' '))
}
