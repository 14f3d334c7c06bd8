//! `vestibule-standin`: the Cognito stand-in on its own, for drivers and benches in other processes.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use vestibule_oauth::time::SystemClock;
use vestibule_standin::cognito::{
    Cognito, CognitoOptions, IssuerForm, ManagedLoginVersion, ScopeErrorForm, UnregisteredResource,
    User,
};

/// A stand-in for an Amazon Cognito user pool, on loopback only. Not for production: its users and secrets are public.
#[derive(Parser)]
#[command(name = "vestibule-standin", version)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct Arguments {
    /// Print one line of JSON when ready, instead of text.
    #[arg(long)]
    json: bool,
    /// Where the issuer host listens; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    issuer_listen: SocketAddr,
    /// Where the domain host listens; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    domain_listen: SocketAddr,
    /// A callback URL of the app client, compared as a string. Repeatable.
    #[arg(long = "callback", value_name = "URL")]
    callbacks: Vec<String>,
    /// A sign-out URL of the app client. Repeatable.
    #[arg(long = "logout-url", value_name = "URL")]
    logout_urls: Vec<String>,
    /// A scope of the app client. Repeatable; replaces the default list.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A user, as NAME:PASSWORD or NAME:PASSWORD:GROUP,GROUP. Repeatable; replaces ada and bob.
    #[arg(long = "user", value_name = "USER", value_parser = parse_user)]
    users: Vec<User>,
    /// The app client's id.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The app client has no secret.
    #[arg(long)]
    public_client: bool,
    /// Rotate refresh tokens; the replaced one lives on for this long.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=60))]
    rotation_grace: Option<u64>,
    /// For load: refreshes of one sign-in within this time give the same access and ID token.
    #[arg(long, value_name = "SECONDS")]
    same_tokens: Option<u64>,
    /// Lifetime of access and ID tokens.
    #[arg(long, value_name = "SECONDS")]
    access_seconds: Option<u64>,
    /// Lifetime of refresh tokens.
    #[arg(long, value_name = "SECONDS")]
    refresh_seconds: Option<u64>,
    /// How a scope that is not allowed is reported.
    #[arg(long, value_enum, default_value = "observed")]
    scope_error: ScopeErrorArgument,
    /// Which issuer form the pool uses.
    #[arg(long, value_enum, default_value = "original")]
    issuer_form: IssuerFormArgument,
    /// The version of the sign-in pages: 1 is classic, 2 is managed login.
    #[arg(long, value_name = "VERSION", default_value = "2", value_parser = clap::value_parser!(u8).range(1..=2))]
    managed_login_version: u8,
    /// What becomes of a `resource` that is not registered.
    #[arg(long, value_enum, default_value = "accept")]
    unregistered_resource: UnregisteredResourceArgument,
    /// The pool has no domain: discovery and JWKS only.
    #[arg(long)]
    no_domain: bool,
    /// The app client may not read `email_verified`, so codes with the scope `email` cannot be exchanged.
    #[arg(long)]
    email_verified_unreadable: bool,
    /// Token revocation is not enabled.
    #[arg(long)]
    no_revocation: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeErrorArgument {
    Observed,
    Documented,
}

#[derive(Clone, Copy, ValueEnum)]
enum IssuerFormArgument {
    Original,
    Updated,
}

#[derive(Clone, Copy, ValueEnum)]
enum UnregisteredResourceArgument {
    Accept,
    InvalidGrant,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to report to if stderr is closed.
            let _ = writeln!(io::stderr(), "vestibule-standin: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    // Before the ready line, so that a signal sent on reading it is not missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let as_json = arguments.json;
    let options = arguments.into_options();
    let users: Vec<_> = options
        .users
        .iter()
        .map(|user| {
            json!({ "username": user.username, "password": user.password, "groups": user.groups })
        })
        .collect();
    let cognito = Cognito::start(options, Arc::new(SystemClock)).await?;
    let control_url = format!("{}/_control", cognito.domain());
    let mut out = io::stdout();
    if as_json {
        let line = json!({
            "issuer": cognito.issuer(),
            "domain": cognito.domain(),
            "client_id": cognito.client_id(),
            "client_secret": cognito.client_secret(),
            "users": users,
            "control_url": control_url,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "issuer        {}", cognito.issuer())?;
        writeln!(out, "domain        {}", cognito.domain())?;
        writeln!(out, "client id     {}", cognito.client_id())?;
        writeln!(out, "client secret {}", cognito.client_secret())?;
        writeln!(out, "control       {control_url}")?;
    }
    out.flush()?;

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cognito.shutdown().await;
    Ok(())
}

impl Arguments {
    fn into_options(self) -> CognitoOptions {
        let mut options = CognitoOptions {
            issuer_address: self.issuer_listen,
            domain_address: self.domain_listen,
            rotation: self.rotation_grace,
            same_tokens: self.same_tokens,
            scope_error: match self.scope_error {
                ScopeErrorArgument::Observed => ScopeErrorForm::Observed,
                ScopeErrorArgument::Documented => ScopeErrorForm::Documented,
            },
            issuer_form: match self.issuer_form {
                IssuerFormArgument::Original => IssuerForm::Original,
                IssuerFormArgument::Updated => IssuerForm::Updated,
            },
            managed_login_version: if self.managed_login_version == 1 {
                ManagedLoginVersion::Classic
            } else {
                ManagedLoginVersion::Managed
            },
            unregistered_resource: match self.unregistered_resource {
                UnregisteredResourceArgument::Accept => UnregisteredResource::Accept,
                UnregisteredResourceArgument::InvalidGrant => UnregisteredResource::InvalidGrant,
            },
            pool_has_domain: !self.no_domain,
            email_verified_readable: !self.email_verified_unreadable,
            revocation_enabled: !self.no_revocation,
            ..CognitoOptions::default()
        };
        if !self.users.is_empty() {
            options.users = self.users;
        }
        if let Some(seconds) = self.access_seconds {
            options.lifetimes.access = seconds;
            options.lifetimes.id = seconds;
        }
        if let Some(seconds) = self.refresh_seconds {
            options.lifetimes.refresh = seconds;
        }
        if let Some(client) = options.clients.first_mut() {
            client.callback_urls = self.callbacks;
            client.logout_urls = self.logout_urls;
            if !self.scopes.is_empty() {
                client.scopes = self.scopes;
            }
            if let Some(client_id) = self.client_id {
                client.client_id = client_id;
            }
            if self.public_client {
                client.client_secret = None;
            }
        }
        options
    }
}

fn parse_user(text: &str) -> Result<User, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(username), Some(password)) = (parts.next(), parts.next()) else {
        return Err("expected NAME:PASSWORD or NAME:PASSWORD:GROUP,GROUP".to_owned());
    };
    let groups = parts.next().unwrap_or_default();
    Ok(User {
        username: username.to_owned(),
        password: password.to_owned(),
        email: format!("{username}@example.com"),
        groups: groups
            .split(',')
            .filter(|group| !group.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}
