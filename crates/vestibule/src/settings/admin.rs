//! `[admin]`: the interface for operators. It is off without a token, has a listener of its own, and that is on this
//! computer only.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use vestibule_oauth::secret::Secret;

use super::problem::{Located, Problems};
use super::section::Section;
use super::server::ServerSettings;

/// Shortest token, in characters, and how many of them must differ.
const SHORTEST_TOKEN: usize = 32;
const FEWEST_DIFFERENT: usize = 10;

/// The interface for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// What a request must bring as `Authorization: Bearer`.
    pub token: Secret,
    /// The addresses to listen on; loopback, plain http.
    pub listen: Vec<SocketAddr>,
}

impl AdminSettings {
    /// Port 8081 on this computer.
    pub fn default_listen() -> Vec<SocketAddr> {
        vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))]
    }

    /// Reads the section; `server` is who else listens.
    pub(super) fn read(mut section: Section<'_>, server: &ServerSettings) -> Option<Self> {
        let problems = section.problems();
        let token = section.secret("token", "token_file");
        let token_written = section.has_written(&["token", "token_file"]);
        let listen = section.parsed_list("listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("'{text}' is not an address and port, such as 127.0.0.1:8081"))
        });
        section.finish();
        if let Some(token) = &token {
            strong(token, problems);
        }
        let listen = match listen {
            None => Self::default_listen(),
            Some(listen) => {
                if !token_written {
                    problems.add(
                        &listen.spot,
                        "has no effect without `token` or `token_file`: without one there is no interface for operators",
                    );
                }
                if listen.value.is_empty() {
                    problems.add(&listen.spot, "must name an address to listen on");
                }
                checked(listen.value, server, problems)
            }
        };
        Some(Self {
            token: token?.value,
            listen,
        })
    }
}

fn checked(
    written: Vec<Located<SocketAddr>>,
    server: &ServerSettings,
    problems: &Problems,
) -> Vec<SocketAddr> {
    let mut listen: Vec<SocketAddr> = Vec::new();
    for address in written {
        let fixed = address.value.port() != 0;
        if !address.value.ip().is_loopback() {
            problems.add(
                &address.spot,
                format!(
                    "{} can be reached from other computers, and the token would travel in the clear; listen on 127.0.0.1 or \
                     [::1], and come in by `ssh -L`, `kubectl port-forward` or a proxy beside it",
                    address.value
                ),
            );
        } else if fixed && server.listen.contains(&address.value) {
            problems.add(
                &address.spot,
                format!("{} is in `server.listen` as well", address.value),
            );
        } else if fixed && listen.contains(&address.value) {
            problems.add(&address.spot, format!("{} is written twice", address.value));
        }
        listen.push(address.value);
    }
    listen
}

/// Nobody guesses it, and it travels in a header.
fn strong(token: &Located<Secret>, problems: &Problems) {
    let text = token.value.expose();
    let different: HashSet<u8> = text.bytes().collect();
    if text.len() < SHORTEST_TOKEN || different.len() < FEWEST_DIFFERENT {
        let message = format!(
            "can be guessed: it must have at least {SHORTEST_TOKEN} characters, {FEWEST_DIFFERENT} of them different; make one \
             with `openssl rand -hex 32`"
        );
        problems.add(&token.spot, message);
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.add(
            &token.spot,
            "must be printable ASCII without blanks, to travel in a header",
        );
    }
}
