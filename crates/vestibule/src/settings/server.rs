//! `[server]` and `[log]`: where to listen, what a connection may cost, and what is logged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use vestibule_oauth::secret::Secret;
use vestibule_oauth::url::Origin;

use super::section::Section;

/// Where to listen and what a connection may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The certificate to serve TLS with; none behind a proxy that ends TLS.
    pub tls: Option<TlsFiles>,
    /// How many connections may be open at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a client may take to send a request's header.
    pub header_timeout: Duration,
    /// How long a client may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a connection without a request stays open. Longer than the 60 s of AWS load balancers, so that they and
    /// not we close it.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is sent to it; a day at most.
    pub send_timeout: Duration,
    /// How long requests in flight may go on after a signal to stop.
    pub drain_timeout: Duration,
    /// The largest request header, in bytes.
    pub max_header_bytes: usize,
    /// The largest request body that is passed on to an MCP server, in bytes.
    pub max_body_bytes: usize,
    /// Browser origins that may call us besides our own and those on this computer; `*` for all.
    pub allowed_origins: Vec<String>,
    /// The proxies in front of us whose word about a caller's address is taken. For limits and logs, nothing else.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it.
    pub forwarded_header: ForwardedHeader,
    /// Secrets of which the front in front of us sends one with each request, in `X-Vestibule-Origin`: the current one,
    /// and the previous one while it is being replaced. Without any, everybody may come in.
    pub origin_secrets: Vec<Secret>,
}

/// The header in which trusted proxies name the caller. Only one is looked at: a proxy cleans or extends its own and
/// passes the other on as the caller wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: AWS, nginx, Caddy, Traefik, Envoy.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// A certificate chain and its private key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, our certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a log line.
    pub format: LogFormat,
    /// Which events are logged, in the syntax of `tracing_subscriber::EnvFilter` (`info`, `warn,vestibule=debug`).
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// Text, for people.
    Text,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: Self::default_listen(),
            tls: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(30),
            max_header_bytes: 64 << 10,
            max_body_bytes: 32 << 20,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            origin_secrets: Vec::new(),
        }
    }
}

/// Linux takes no more than 24 days (milliseconds in an `int`), and would refuse the option on every connection.
const LONGEST_SEND_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Shortest origin secret, in characters: 64 bits even when it is written in hexadecimal.
const SHORTEST_ORIGIN_SECRET: usize = 16;

impl ServerSettings {
    /// Port 8080 on this computer only, IPv4 and IPv6.
    pub fn default_listen() -> Vec<SocketAddr> {
        [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
        .map(|ip| SocketAddr::new(ip, 8080))
        .to_vec()
    }

    /// Reads the section; `public_url` decides where it is wise to listen.
    pub(super) fn read(mut section: Section<'_>, public_url: Option<&Origin>) -> Self {
        let mut settings = Self::default();
        let development = public_url.is_some_and(|url| !url.is_https());
        if let Some(listen) = section.parsed_list("listen", |text| {
            text.parse::<SocketAddr>().map_err(|_| {
                format!("'{text}' is not an address and port, such as 127.0.0.1:8080 or [::1]:8080")
            })
        }) {
            settings.listen.clear();
            for address in listen.value {
                if address.value.port() != 0 && settings.listen.contains(&address.value) {
                    section
                        .problems()
                        .add(&address.spot, format!("{} is written twice", address.value));
                }
                if development && !address.value.ip().is_loopback() {
                    section.problems().add(
                        &address.spot,
                        format!(
                            "{} can be reached from other computers, but `public_url` is plain http on this one; listen on \
                             127.0.0.1 or [::1], or use an https `public_url`",
                            address.value
                        ),
                    );
                }
                settings.listen.push(address.value);
            }
            if settings.listen.is_empty() {
                section
                    .problems()
                    .add(&listen.spot, "must name an address to listen on");
            }
        }
        settings.tls = section.optional_section("tls").and_then(TlsFiles::read);
        if let Some(most) = section.count("max_connections") {
            if most.value == 0 {
                section.problems().add(&most.spot, "must be at least 1");
            }
            settings.max_connections = most.value;
        }
        let any = Duration::MAX;
        for (key, target, longest) in [
            ("header_timeout", &mut settings.header_timeout, any),
            ("handshake_timeout", &mut settings.handshake_timeout, any),
            ("idle_timeout", &mut settings.idle_timeout, any),
            (
                "send_timeout",
                &mut settings.send_timeout,
                LONGEST_SEND_TIMEOUT,
            ),
        ] {
            if let Some(written) = section.duration(key) {
                if written.value.is_zero() {
                    section
                        .problems()
                        .add(&written.spot, "must be longer than 0");
                } else if written.value > longest {
                    section
                        .problems()
                        .add(&written.spot, "must be no longer than a day");
                }
                *target = written.value;
            }
        }
        if let Some(drain) = section.duration("drain_timeout") {
            settings.drain_timeout = drain.value;
        }
        for (key, target, smallest, largest) in [
            (
                "max_header_bytes",
                &mut settings.max_header_bytes,
                8 << 10,
                1 << 20,
            ),
            (
                "max_body_bytes",
                &mut settings.max_body_bytes,
                1 << 10,
                1 << 30,
            ),
        ] {
            if let Some(written) = section.size(key) {
                if !(smallest..=largest).contains(&written.value) {
                    let message = format!(
                        "must be between {} and {} KiB",
                        smallest >> 10,
                        largest >> 10
                    );
                    section.problems().add(&written.spot, message);
                }
                *target = written.value;
            }
        }
        if let Some(origins) = section.parsed_list("allowed_origins", browser_origin) {
            settings.allowed_origins = origins
                .value
                .into_iter()
                .map(|origin| origin.value)
                .collect();
        }
        settings.read_front(&mut section);
        section.finish();
        settings
    }

    /// What stands in front of us.
    fn read_front(&mut self, section: &mut Section<'_>) {
        let problems = section.problems();
        if let Some(proxies) = section.parsed_list("trusted_proxies", proxy_network) {
            self.trusted_proxies = proxies.value.into_iter().map(|net| net.value).collect();
        }
        let header = section.choice(
            "forwarded_header",
            &[
                ("x-forwarded-for", ForwardedHeader::XForwardedFor),
                ("forwarded", ForwardedHeader::Forwarded),
            ],
        );
        if let Some(header) = header {
            self.forwarded_header = header.value;
            if self.trusted_proxies.is_empty() {
                problems.add(
                    &header.spot,
                    "has no effect without `trusted_proxies`: say whose header is believed",
                );
            }
        }
        let current = section.secret("origin_secret", "origin_secret_file");
        let previous = section.secret("origin_secret_previous", "origin_secret_previous_file");
        if let (None, Some(previous)) = (&current, &previous)
            && !section.has_written(&["origin_secret", "origin_secret_file"])
        {
            problems.add(
                &previous.spot,
                "needs `origin_secret`: the previous secret is for the time of a change",
            );
        }
        for secret in [current, previous].into_iter().flatten() {
            let text = secret.value.expose();
            if text.len() < SHORTEST_ORIGIN_SECRET {
                let message = format!(
                    "must have at least {SHORTEST_ORIGIN_SECRET} characters; make one with `openssl rand -hex 32`"
                );
                problems.add(&secret.spot, message);
            } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                problems.add(
                    &secret.spot,
                    "must be printable ASCII without blanks, to travel in a header",
                );
            } else if self.origin_secrets.contains(&secret.value) {
                problems.add(&secret.spot, "is the same as `origin_secret`");
            }
            self.origin_secrets.push(secret.value);
        }
    }
}

/// A network in CIDR form, or one address.
pub(super) fn proxy_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network
        .map_err(|_| format!("'{text}' is neither a network such as 10.0.0.0/8 nor an address"))?;
    if network.prefix_len() == 0 {
        return Err(format!(
            "'{text}' is everybody: any caller could choose the address that it is counted under"
        ));
    }
    if network.trunc() != network {
        return Err(format!(
            "'{text}' has bits beyond its prefix; write '{}'",
            network.trunc()
        ));
    }
    Ok(network)
}

impl TlsFiles {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let cert = section.file("cert");
        let cert = section.required("cert", cert);
        let key = section.file("key");
        let key = section.required("key", key);
        section.finish();
        Some(Self {
            cert: cert?.value,
            key: key?.value,
        })
    }
}

/// An origin as a browser sends it in `Origin`, or `*`. Plain http is allowed: an intranet page may be the client.
fn browser_origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let url = url::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let canonical = url.map(|url| url.origin().ascii_serialization());
    match canonical {
        Some(canonical) if canonical == text => Ok(canonical),
        Some(canonical) => Err(format!("'{text}' is not an origin; write '{canonical}'")),
        None => Err(format!(
            "'{text}' is not an origin such as https://app.example, nor `*`"
        )),
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
        }
    }
}

impl LogSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut settings = Self::default();
        if let Some(format) = section.choice(
            "format",
            &[("json", LogFormat::Json), ("text", LogFormat::Text)],
        ) {
            settings.format = format.value;
        }
        let filter = section.parsed("filter", |text| {
            EnvFilter::builder()
                .parse(text)
                .map(|_| text.to_owned())
                .map_err(|error| format!("not a log filter: {error}"))
        });
        if let Some(filter) = filter {
            settings.filter = filter.value;
        }
        section.finish();
        settings
    }
}
