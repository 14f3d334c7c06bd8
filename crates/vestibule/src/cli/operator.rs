//! Where `vestibule grants` and `vestibule quarantine` do their work: in the configured store with the configured keys, or
//! through the interface for operators of a server that runs.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt as _;
use vestibule_guard::fetch::{AddressPolicy, FetchLimits, Outbound, Trust};
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::time::{Clock, SystemClock, UnixTime};
use vestibule_oauth::url::is_loopback_host;
use zeroize::Zeroizing;

use super::serve::{colour, config_file, load};
use super::{Failure, runtime};
use crate::House;
use crate::admin;
use crate::reload::key_ring;
use crate::settings::{LogFormat, LogSettings, StorePlace, Strings};
use crate::store::{self, StoreError};
use crate::telemetry::{self, is_unsafe_to_show};

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  not done: the store or the server is away or refuses, or there is no such grant or entry
  2  bad usage or configuration, or `--yes` is missing; nothing was changed";

/// Longest answer.
const MAX_ANSWER: usize = 16 << 20;
/// A command that changes many grants takes its time.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long the provider may take to hear of it, with the tries in between.
const SETTLE: Duration = Duration::from_secs(90);
/// How long audit events may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// All but what RFC 3986 leaves alone.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The configuration file, whose store and keys are used [default: as for `serve`].
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// The interface for operators of a server that runs, as in http://127.0.0.1:8081, instead of the store.
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// A file with the admin token.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Where work is done, open.
pub(super) enum Desk {
    Here {
        operations: Router,
        house: Arc<House>,
    },
    There {
        outbound: Box<Outbound>,
        url: String,
        authorization: HeaderValue,
    },
}

/// Opens the place, does the work, and waits for what goes on behind it.
pub(super) fn at<T>(
    place: &Place,
    env: &dyn Strings,
    work: impl AsyncFnOnce(&Desk) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let (Some(url), Some(file)) = (&place.url, &place.token_file) {
        let desk = Desk::there(url, file)?;
        return runtime()?.block_on(work(&desk));
    }
    let file = config_file(place.config.as_deref(), env);
    let report = load(file.as_deref(), env)?;
    let settings = report.outcome.map_err(Failure::usage)?;
    // What is changed here is in the log of no server: it is said on stderr.
    let log = LogSettings {
        format: if io::stderr().is_terminal() {
            LogFormat::Text
        } else {
            settings.log.format
        },
        filter: "warn,vestibule=info".to_owned(),
    };
    telemetry::install(&log, colour(env)).map_err(Failure::usage)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let ring = key_ring(&settings, clock.as_ref(), random.as_ref());
    let ring = ring.map_err(|error| Failure::usage(format!("key ring: {error}")))?;
    runtime()?.block_on(async {
        let opened = store::open(
            &settings.store,
            env,
            Arc::clone(&clock),
            Arc::clone(&random),
        );
        let is_file = matches!(settings.store.place, StorePlace::Redb(_));
        let store = opened.await.map_err(|error| explain(&error, is_file))?;
        if store.is_none() || settings.store.place == StorePlace::Memory {
            return Err(Failure::usage(
                "there is no store that this command could open: `store.url` is none or memory. Without a store clients carry \
                 their grants, and nobody has a list of them",
            ));
        }
        let house = House::build(settings, &ring, store, clock, random).map_err(Failure::usage)?;
        // Events of operators belong there whoever does the work.
        (house.audit().open()).map_err(|error| Failure::usage(format!("audit.to: {error}")))?;
        let desk = Desk::Here {
            operations: admin::operations(&house),
            house: Arc::clone(&house),
        };
        let done = work(&desk).await;
        house.settle(SETTLE).await;
        house.audit().flush(FLUSH).await;
        done
    })
}

fn explain(error: &StoreError, is_file: bool) -> Failure {
    let advice = if is_file {
        ". While `vestibule serve` has the file open, ask the server instead: `--url http://127.0.0.1:8081 --token-file FILE` \
         (it needs an [admin] section)"
    } else {
        ""
    };
    Failure::runtime(format!("store: {error}{advice}"))
}

impl Desk {
    fn there(url: &str, token_file: &Path) -> Result<Self, Failure> {
        let wrong = || Failure::usage("--url must be like http://127.0.0.1:8081");
        let parsed = url::Url::parse(url).map_err(|_| wrong())?;
        let host = parsed.host_str().ok_or_else(wrong)?;
        if parsed.path() != "/" || parsed.query().is_some() || !parsed.username().is_empty() {
            return Err(wrong());
        }
        let trust = match parsed.scheme() {
            "https" => Trust::platform(None),
            "http" if is_loopback_host(host) => Trust::nobody(),
            "http" => {
                return Err(Failure::usage(
                    "--url is plain http to another computer, and the token would travel in the clear; use `ssh -L` or https",
                ));
            }
            _ => return Err(wrong()),
        };
        let trust = trust.map_err(Failure::runtime)?;
        let text = std::fs::read_to_string(token_file)
            .map(Zeroizing::new)
            .map_err(|error| Failure::usage(format!("{}: {error}", token_file.display())))?;
        let header = Zeroizing::new(format!("Bearer {}", text.trim()));
        let authorization = HeaderValue::try_from(header.as_str());
        let mut authorization = authorization
            .map_err(|_| Failure::usage(format!("{}: holds no token", token_file.display())))?;
        authorization.set_sensitive(true);
        Ok(Self::There {
            outbound: Box::new(Outbound::new(AddressPolicy::Configured, &trust)),
            url: url.trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// Asks for one thing. What is refused is a failure with the words of the answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let bytes = Bytes::from(body.map(Value::to_string).unwrap_or_default());
        let base = match self {
            Self::Here { .. } => "",
            Self::There { url, .. } => url.as_str(),
        };
        let uri = format!("{base}{path}")
            .parse::<Uri>()
            .map_err(Failure::usage)?;
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let (status, bytes) = match self {
            Self::Here { operations, .. } => {
                let request = request.body(Body::from(bytes)).map_err(Failure::usage)?;
                let answer = operations.clone().oneshot(request).await;
                let answer = answer.unwrap_or_else(|never| match never {});
                let status = answer.status();
                let body = to_bytes(answer.into_body(), MAX_ANSWER).await;
                (status, body.map_err(Failure::runtime)?)
            }
            Self::There {
                outbound,
                authorization,
                ..
            } => {
                let request = request.header(AUTHORIZATION, authorization);
                let request = request.body(Full::new(bytes)).map_err(Failure::usage)?;
                let limits = FetchLimits {
                    deadline: DEADLINE,
                    max_body: MAX_ANSWER,
                };
                let answer = outbound.fetch(request, limits).await;
                let answer = answer.map_err(Failure::runtime)?;
                (answer.status(), answer.into_body())
            }
        };
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() && !answer.is_null() {
            return Ok(answer);
        }
        let said = answer["error_description"].as_str();
        let said = said.unwrap_or("the answer is not one of Vestibule's interface for operators");
        let reference = answer["reference"].as_str().unwrap_or("-");
        let message = format!("{said} ({status}, reference {reference})");
        Err(match status {
            StatusCode::BAD_REQUEST => Failure::Usage(message),
            _ => Failure::Runtime(message),
        })
    }

    /// The time of whoever does the work, as far as it is known here.
    pub(super) fn now(&self) -> UnixTime {
        match self {
            Self::Here { house, .. } => house.now(),
            Self::There { .. } => SystemClock.now(),
        }
    }
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A query of those that have a value.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// Rows with a head, in columns as wide as they must be; the last one is not filled up. Control characters, which a client may
/// have in its name, do not reach the terminal.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let clean = |text: &str| -> String {
        let shown = text
            .chars()
            .map(|one| if is_unsafe_to_show(one) { '?' } else { one });
        shown.collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head.map(str::to_owned).to_vec())
        .chain(
            rows.iter()
                .map(|row| row.iter().map(|cell| clean(cell)).collect()),
        )
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let gap = width + 2 - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', gap));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_a_name_cannot_move_the_cursor() {
        let rows = [
            ["é".to_owned(), "x\u{1b}[2Jy".to_owned()],
            ["long".to_owned(), "\u{202e}z".to_owned()],
        ];
        let text = table(["A", "B"], &rows);
        assert_eq!(text, "A     B\né     x?[2Jy\nlong  ?z\n");
    }

    #[test]
    fn any_id_is_one_segment() {
        assert_eq!(segment("https://a/b?c"), "https%3A%2F%2Fa%2Fb%3Fc");
        assert_eq!(segment("name:Ä*"), "name%3A%C3%84%2A");
        assert_eq!(query(&[("a", Some("b&c")), ("d", None)]), "a=b%26c");
    }

    #[test]
    fn the_token_goes_to_no_other_computer_in_the_clear() {
        let file = Path::new("/nowhere");
        for url in [
            "http://10.0.0.1:8081",
            "ftp://127.0.0.1",
            "http://127.0.0.1:8081/x",
            "nonsense",
        ] {
            assert!(
                matches!(Desk::there(url, file), Err(Failure::Usage(_))),
                "{url}"
            );
        }
    }
}
