//! One exchange with the upstream: build the request, stream it, judge the answer, stream that (design laws 10 and 11).

use std::sync::Arc;
use std::time::Instant as StdInstant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode, Version};
use http_body_util::BodyExt as _;
use thiserror::Error;
use vestibule_guard::fetch::{FetchError, StreamRequest, Streaming};
use vestibule_guard::{Caller, Refusal};

use super::credential::{self, CredentialError, UpstreamTokens};
use super::event_ids::{EventIds, UnknownEvent};
use super::handles::{AnswerError, Handles};
use super::path::PathRefusal;
use super::rewrite::Verdict;
use super::session::{self, UnknownSession};
use super::signing::{self, UnreadBody};
use super::turns::let_others_catch_up;
use super::upload::{Progress, Upload};
use super::{Proxy, Route, headers, living, path, problem, rewrite};
use crate::metrics::labels::UpstreamOutcome;
use crate::policy::{FilterError, Permit};
use crate::telemetry::{ReferenceId, Told};

/// Somebody brought a session that another caller opened.
pub(super) const SESSION_OF_ANOTHER: &str = "session_of_another";
/// The same with an event of a stream.
pub(super) const EVENT_OF_ANOTHER: &str = "event_of_another";

/// Why the client gets an answer of ours.
#[derive(Debug, Error)]
pub(super) enum ForwardError {
    #[error("path refused: {0}")]
    Path(#[from] PathRefusal),
    #[error("method refused")]
    Method,
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request body broke off, and must be signed")]
    Broken,
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("the upstream is silent")]
    Silent,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the upstream switched protocols")]
    Switched,
    #[error("the upstream refused the configured credential")]
    OurCredentialRefused,
    #[error("the upstream refused: {}", .0.reason())]
    Refused(Refusal),
    #[error(transparent)]
    Session(#[from] UnknownSession),
    #[error(transparent)]
    Event(#[from] UnknownEvent),
    #[error("the answer cannot be filtered: {0}")]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl From<UnreadBody> for ForwardError {
    fn from(error: UnreadBody) -> Self {
        match error {
            UnreadBody::TooLong(limit) => Self::TooLarge(limit),
            UnreadBody::Broken => Self::Broken,
        }
    }
}

impl ForwardError {
    /// A stable word for logs and metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Method => "method",
            Self::TooLarge(_) => "body_too_large",
            Self::Broken => "body_broken",
            Self::Credential(_) => "upstream_credential",
            Self::Silent => "upstream_silent",
            Self::Fetch(_) => "upstream_unreachable",
            Self::Switched => "upstream_switched_protocols",
            Self::OurCredentialRefused => "upstream_refused_our_credential",
            Self::Refused(refusal) => refusal.reason(),
            Self::Session(_) => SESSION_OF_ANOTHER,
            Self::Event(_) => EVENT_OF_ANOTHER,
            Self::Filter(_) => "list_unfit",
            Self::Answer(_) => "answer_unfit",
        }
    }
}

/// The answer of the upstream, made fit for the client.
pub(super) async fn forward<T: UpstreamTokens>(
    proxy: &Proxy<T>,
    route: &Route,
    caller: &Caller<T::Extra>,
    arrived: StdInstant,
    permit: Permit,
    handles: Option<Box<Handles>>,
    request: Box<Request>,
) -> Result<Response, ForwardError> {
    // TRACE would show the client the credential that we add.
    if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
        return Err(ForwardError::Method);
    }
    let listening = living::is_listening(request.method(), request.headers());
    let watched = request.method() != Method::HEAD;
    let (request, body) = if route.credential.signs_requests() {
        // Boxed, as all that is rare: the future of every request has room for it otherwise.
        Box::pin(signing::read_body(
            &route.credential,
            request,
            route.header_timeout,
        ))
        .await?
    } else {
        (request, Bytes::new())
    };
    let (upstream, progress) = outgoing(proxy, route, caller, &permit, arrived, *request)?;
    let upstream = if route.credential.signs_requests() {
        Box::pin(signing::sign(route, upstream, body)).await?
    } else {
        upstream
    };
    let upstream = StreamRequest::new(upstream);
    let response = exchange(proxy, route, upstream, &progress, arrived).await?;
    let mut answer = incoming(proxy, route, caller, response)?;
    if let Some(ids) = EventIds::of(route, caller).filter(|_| watched) {
        answer = ids.close(answer);
    }
    answer = permit.apply(answer).await?;
    if let Some(handles) = handles.filter(|_| watched) {
        answer = Box::pin(handles.close(answer)).await?;
    }
    if watched {
        answer = living::watch(proxy, route, caller, listening, answer);
    }
    Ok(answer)
}

/// The request as the upstream gets it: of the client's only method, headers and body travel on.
fn outgoing<T: UpstreamTokens>(
    proxy: &Proxy<T>,
    route: &Route,
    caller: &Caller<T::Extra>,
    permit: &Permit,
    arrived: StdInstant,
    request: Request,
) -> Result<(http::Request<Upload>, Arc<Progress>), ForwardError> {
    let (client, body) = request.into_parts();
    let target = path::target(&route.path, &route.upstream, &client.uri)?;
    let too_large = ForwardError::TooLarge(route.max_body_bytes);
    let upload = Upload::new(body, route.max_body_bytes, arrived.into());
    let (upload, progress) = upload.ok_or(too_large)?;
    let secret = credential::header_for(&route.credential, &proxy.tokens, caller)?;
    let identity = credential::identity_for(&route.identity, &proxy.tokens, caller)?;

    let mut upstream = http::Request::new(upload);
    *upstream.uri_mut() = target;
    *upstream.version_mut() = Version::HTTP_11;
    *upstream.headers_mut() = client.headers;
    let headers = upstream.headers_mut();
    let ours = route.credential.header().into_iter();
    headers::for_upstream(headers, ours.chain(route.identity.names()));
    session::drop_lookalikes(headers);
    if let Some(ids) = EventIds::of(route, caller) {
        ids.sessions.open(ids.resource, caller, headers)?;
        ids.open(&client.method, headers)?;
    }
    permit.prepare(headers);
    let told = identity
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in told.chain(secret) {
        headers.insert(name, value);
    }
    *upstream.method_mut() = client.method;
    Ok((upstream, progress))
}

/// Sends a request and waits for the head of the answer, as long as something moves.
async fn exchange<T>(
    proxy: &Proxy<T>,
    route: &Route,
    upstream: StreamRequest,
    progress: &Progress,
    arrived: StdInstant,
) -> Result<Response<Streaming>, ForwardError> {
    let now = let_others_catch_up(arrived).await;
    let durations = (proxy.watch.as_ref()).map(|watch| &watch.metrics.upstream_durations);
    let abandoned = (UpstreamOutcome::Abandoned,);
    let timing = durations.map(|durations| durations.begun(now.into_std(), abandoned));
    let sending = proxy.outbound.stream(upstream);
    let response = tokio::select! {
        response = sending => response.map_err(|error| {
            if progress.is_too_long() {
                ForwardError::TooLarge(route.max_body_bytes)
            } else {
                error.into()
            }
        }),
        () = progress.silence(now, route.header_timeout) => Err(ForwardError::Silent),
    };
    if let Some(timing) = timing {
        timing.end((outcome(&response),));
    }
    response
}

/// The answer with a head of ours.
fn incoming<T: UpstreamTokens>(
    proxy: &Proxy<T>,
    route: &Route,
    caller: &Caller<T::Extra>,
    response: Response<Streaming>,
) -> Result<Response, ForwardError> {
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ForwardError::Switched);
    }
    match rewrite::answer(route, caller, &mut parts) {
        Verdict::Pass => {}
        Verdict::Replace(refusal) => return Err(ForwardError::Refused(refusal)),
        Verdict::OurCredentialRefused => return Err(ForwardError::OurCredentialRefused),
    }
    if let Some(sessions) = &route.sessions {
        sessions.close(&route.resource.uri, caller, &mut parts.headers);
    }
    let watch = proxy.watch.as_ref();
    let stream = watch.filter(|_| rewrite::is_event_stream(&parts.headers));
    let body = match stream.map(|watch| watch.metrics.active_streams.up()) {
        None => Body::new(body),
        // Open for as long as somebody holds its body.
        Some(open) => Body::new(body.map_frame(move |frame| {
            let _ = &open;
            frame
        })),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    Ok(answer)
}

/// What the client gets when there is no such answer.
pub(super) fn refuse<T: UpstreamTokens>(
    proxy: &Proxy<T>,
    route: &Route,
    error: ForwardError,
) -> Response {
    let reference = ReferenceId::new(proxy.random.as_ref());
    tracing::warn!(
        reference = %reference, path = %route.path, upstream = route.upstream.authority(),
        reason = error.reason(), cause = %error,
        "request not forwarded"
    );
    let told = Told::new(reference, error.reason());
    told.on(explain(route, error, reference))
}

fn outcome<B>(response: &Result<Response<B>, ForwardError>) -> UpstreamOutcome {
    match response {
        Ok(response) => UpstreamOutcome::of(response.status()),
        Err(ForwardError::Silent) => UpstreamOutcome::Silent,
        Err(ForwardError::TooLarge(_)) => UpstreamOutcome::Abandoned,
        Err(_) => UpstreamOutcome::Unreachable,
    }
}

fn explain(route: &Route, error: ForwardError, reference: ReferenceId) -> Response {
    let failed = |status, message| problem::failed(status, message, reference);
    let refused = |status, message| problem::refused(status, message, reference);
    match error {
        ForwardError::Path(_) => refused(StatusCode::NOT_FOUND, problem::NO_PATH),
        ForwardError::Method => refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not passed on",
        ),
        ForwardError::TooLarge(limit) => refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the request is larger than {limit} bytes"),
        ),
        ForwardError::Broken => failed(
            StatusCode::REQUEST_TIMEOUT,
            "The request did not arrive as a whole",
        ),
        ForwardError::Session(_) => refused(StatusCode::NOT_FOUND, "session not found"),
        ForwardError::Event(_) => refused(StatusCode::NOT_FOUND, "event not found"),
        ForwardError::Filter(_) => failed(
            StatusCode::BAD_GATEWAY,
            "The MCP server behind this gateway gave a list that cannot be read",
        ),
        ForwardError::Answer(_) => failed(
            StatusCode::BAD_GATEWAY,
            "The MCP server behind this gateway gave an answer that cannot be read",
        ),
        ForwardError::Refused(refusal) => refusal.referenced(reference).into_response(),
        ForwardError::Credential(CredentialError::SignInAgain) => {
            let refusal = route.resource.refused_upstream();
            refusal.referenced(reference).into_response()
        }
        ForwardError::Credential(CredentialError::Unavailable) => failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "The sign-in cannot be checked at the moment",
        ),
        ForwardError::Silent => failed(
            StatusCode::GATEWAY_TIMEOUT,
            "The MCP server behind this gateway does not answer",
        ),
        ForwardError::Fetch(error) if error.is_timeout() => failed(
            StatusCode::GATEWAY_TIMEOUT,
            "The MCP server behind this gateway does not answer",
        ),
        ForwardError::Fetch(error) if error.is_before_sending() => failed(
            StatusCode::BAD_GATEWAY,
            "The MCP server behind this gateway cannot be reached",
        ),
        ForwardError::Fetch(_) | ForwardError::Switched => failed(
            StatusCode::BAD_GATEWAY,
            "The MCP server behind this gateway broke off or gave no valid answer",
        ),
        ForwardError::OurCredentialRefused => failed(
            StatusCode::BAD_GATEWAY,
            "The MCP server behind this gateway does not accept the gateway's credential; its operator must mend this",
        ),
    }
}
