//! What is compared: Vestibule in several configurations, bare proxies, and others that check tokens.

mod peers;
mod vestibule;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::{LOAD_CPU, Process, TARGET_CPU, free_ports, local, pinned, under};
use crate::sign_in::{Agent, Tokens};
use crate::{Fallible, UPSTREAM_PATH};

/// Which tokens a target takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Ours, sealed.
    Sealed,
    /// Ours, as RS256 JWTs. Who looks at no token gets these too.
    Jwt,
}

/// One way to do it.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) takes: Takes,
    /// Refuses requests without a token.
    pub(crate) guards: bool,
    /// Vestibule itself.
    pub(crate) ours: bool,
    /// So slow that fewer connections say the same.
    pub(crate) slow: bool,
}

const fn kind(name: &'static str, what: &'static str) -> Kind {
    Kind {
        name,
        what,
        takes: Takes::Jwt,
        guards: false,
        ours: false,
        slow: false,
    }
}

/// Every kind, in the order of the tables.
pub(crate) const KINDS: [Kind; 16] = [
    kind("direct", "the mock MCP server, with nothing before it"),
    kind(
        "floor",
        "hyper and hyper-util in forty lines; looks at no token",
    ),
    Kind {
        guards: true,
        ..kind(
            "floor-rs256",
            "the floor, which verifies RS256 (aws-lc, parsed key) on each request",
        )
    },
    Kind {
        takes: Takes::Sealed,
        guards: true,
        ours: true,
        ..kind(
            "vestibule",
            "Vestibule, sealed tokens; the upstream gets no credential",
        )
    },
    Kind {
        takes: Takes::Sealed,
        guards: true,
        ours: true,
        ..kind(
            "vestibule-credential",
            "the same; the upstream gets a token signed by us (the default)",
        )
    },
    Kind {
        guards: true,
        ours: true,
        ..kind(
            "vestibule-jwt",
            "Vestibule, RS256 JWTs; the upstream gets no credential",
        )
    },
    Kind {
        takes: Takes::Sealed,
        guards: true,
        ours: true,
        ..kind(
            "vestibule-rules",
            "Vestibule, sealed tokens, a rule for tools: each body is read",
        )
    },
    Kind {
        takes: Takes::Sealed,
        guards: true,
        ours: true,
        ..kind(
            "vestibule-redb",
            "Vestibule, sealed tokens, grants in a redb file",
        )
    },
    kind("nginx", "nginx; looks at no token"),
    kind("haproxy", "HAProxy; looks at no token"),
    Kind {
        guards: true,
        ..kind(
            "haproxy-jwt",
            "HAProxy, jwt_verify and checks of alg, iss, aud, exp",
        )
    },
    Kind {
        guards: true,
        ..kind("envoy-jwt", "Envoy, jwt_authn")
    },
    Kind {
        guards: true,
        ..kind("envoy-jwt-cache", "Envoy, jwt_authn with jwt_cache_config")
    },
    Kind {
        guards: true,
        slow: true,
        ..kind(
            "express",
            "express, the MCP SDK's requireBearerAuth, jose, http-proxy",
        )
    },
    Kind {
        guards: true,
        slow: true,
        ..kind(
            "fastmcp",
            "FastMCP with JWTVerifier and the tool itself: no upstream behind it",
        )
    },
    Kind {
        guards: true,
        slow: true,
        ..kind(
            "fastmcp-proxy",
            "FastMCP's OIDCProxy, which its Cognito provider is; clients and tokens in memory, no consent asked",
        )
    },
];

/// A kind that runs.
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) version: String,
}

/// Why a kind does not run.
pub(crate) struct Absent(pub(crate) String);

/// Everything around the targets.
pub(crate) struct World {
    /// Below `target/bench`.
    pub(crate) directory: PathBuf,
    /// Where peers were installed.
    peers: PathBuf,
    /// Where our programs are.
    pub(crate) programs: PathBuf,
    pub(crate) upstream: SocketAddr,
    /// `JwkSet` of the tokens, as text.
    jwks: String,
    provider: Provider,
    // The order in which they end.
    _upstream: Process,
    _provider: Process,
}

#[derive(Debug)]
struct Provider {
    issuer: String,
    client_id: String,
    client_secret: String,
}

impl World {
    /// Starts the mock MCP server and the stand-in for the provider, and makes the keys.
    pub(crate) async fn open(programs: &Path, directory: &Path) -> Fallible<Self> {
        let run = directory.join("run");
        if run.exists() {
            std::fs::remove_dir_all(&run)?;
        }
        std::fs::create_dir_all(&run)?;
        let [upstream_port] = free_ports()?;
        let upstream = local(upstream_port);
        let itself = programs.join("vestibule-bench");
        let mut command = pinned(LOAD_CPU, &itself);
        command.args(["upstream", "--listen", &upstream.to_string()]);
        let mut mock = Process::start(&mut command, &run.join("upstream.log"))?;
        mock.listens(upstream).await?;
        let (process, provider) = vestibule::provider(programs, &run).await?;
        let jwks = vestibule::keys(programs, &run)?;
        Ok(Self {
            directory: run,
            peers: directory.join("peers"),
            programs: programs.to_owned(),
            upstream,
            jwks,
            provider,
            _upstream: mock,
            _provider: process,
        })
    }

    /// Starts a kind; for what is not installed it says so.
    pub(crate) async fn start(&self, kind: &'static Kind) -> Fallible<Result<Target, Absent>> {
        self.start_under(kind, &[]).await
    }

    /// The same with another program, such as valgrind, that runs it.
    pub(crate) async fn start_under(
        &self,
        kind: &'static Kind,
        tool: &[&str],
    ) -> Fallible<Result<Target, Absent>> {
        let [port] = free_ports()?;
        let address = local(port);
        let (mut command, version) = if kind.ours {
            (
                vestibule::command(self, kind.name, address)?,
                vestibule::version(self)?,
            )
        } else {
            match kind.name {
                "direct" => {
                    let mut command = pinned(TARGET_CPU, &self.programs.join("vestibule-bench"));
                    command.args(["upstream", "--listen", &address.to_string()]);
                    (command, String::new())
                }
                "floor" | "floor-rs256" => {
                    let mut command = pinned(TARGET_CPU, &self.programs.join("vestibule-bench"));
                    let upstream = format!("http://{}{UPSTREAM_PATH}", self.upstream);
                    command.args(["floor", "--listen", &address.to_string()]);
                    command.args(["--upstream", &upstream]);
                    if kind.guards {
                        command
                            .arg("--public-key")
                            .arg(self.directory.join("public.pem"));
                    }
                    (command, String::new())
                }
                name => match peers::command(self, name, address)? {
                    Some(found) => found,
                    None => return Ok(Err(Absent("not installed".to_owned()))),
                },
            }
        };
        if !tool.is_empty() {
            command = under(&command, tool);
        }
        let log = self.directory.join(format!("{}.log", kind.name));
        let mut process = Process::start(&mut command, &log)?;
        process
            .listens(address)
            .await
            .map_err(|error| format!("{}: {error}", kind.name))?;
        Ok(Ok(Target {
            kind,
            process,
            address,
            version,
        }))
    }

    /// `count` access tokens of one kind, of eight users' sign-ins at `issuer` and their refreshes.
    pub(crate) async fn tokens(&self, issuer: SocketAddr, count: usize) -> Fallible<Vec<String>> {
        let mut access = Vec::with_capacity(count);
        let mut signed_in: Vec<(Agent, Tokens)> = Vec::new();
        for _ in 0..count.min(8) {
            let mut agent = Agent::new(issuer);
            let tokens = agent.sign_in().await?;
            access.push(tokens.access.clone());
            signed_in.push((agent, tokens));
        }
        let mut turn = 0;
        while access.len() < count {
            let among = signed_in.len().max(1);
            let (agent, tokens) = signed_in.get_mut(turn % among).ok_or("nobody signed in")?;
            *tokens = agent.refresh(tokens).await?;
            access.push(tokens.access.clone());
            turn += 1;
        }
        Ok(access)
    }
}
