//! `vestibule policy`: tells how the rules of a resource decide on a call, and why (docs/authorization.md).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::{Clock, SystemClock};

use super::{Failure, print, serve};
use crate::issuer::TokenIssuer;
use crate::policy::{Explanation, Kind, Policy, Subject, Target};
use crate::reload::key_ring;
use crate::seal::Sealer;
use crate::settings::{ResourceSettings, Settings, Strings};

/// Options of `vestibule policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say how a call is decided, rule by rule. Nothing is sent to anybody.
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// The configuration file [default: as for `serve`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The public path of the resource [default: the first one].
    #[arg(long, value_name = "PATH")]
    resource: Option<String>,
    /// An access token of ours; it must not be expired. Others on this computer can see it while the command runs.
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["claims", "scope"])]
    token: Option<String>,
    /// Claims as they stand in our tokens, with `sub`, `groups` and `scope`.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// The granted scopes, if `--claims` does not have them.
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// A method, with the name or URI that it is about: `tools/call:NAME`, `resources/read:URI`, `tools/list`.
    #[arg(long, value_name = "METHOD[:NAME]")]
    call: String,
    /// What the tool is called with, for Cedar policies. Without it the answer is what a list shows.
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &PolicyArgs, env: &dyn Strings) -> Result<(), Failure> {
    let PolicyCommand::Test(arguments) = &arguments.command;
    let file = serve::config_file(arguments.config.as_deref(), env);
    let settings = serve::load(file.as_deref(), env)?.outcome;
    let settings = settings.map_err(Failure::usage)?;
    let resource = resource(&settings, arguments.resource.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let policy = Policy::of(resource, &clock);
    let subject = match &arguments.token {
        Some(token) => of_token(&settings, resource, &policy, token, clock.as_ref())?,
        None => of_claims(&policy, arguments)?,
    };
    let given = arguments.arguments.as_deref().map(serde_json::from_str);
    let given: Option<Value> = given
        .transpose()
        .map_err(|error| Failure::Usage(format!("--arguments is not JSON: {error}")))?;
    let told = policy.explain_with(&subject, call(&arguments.call)?, given.as_ref());
    if arguments.json {
        let text = serde_json::to_string_pretty(&told).map_err(Failure::runtime)?;
        print::line(&text);
    } else {
        print::text(&in_words(&told, &arguments.call, &resource.path));
    }
    Ok(())
}

fn resource<'a>(
    settings: &'a Settings,
    path: Option<&str>,
) -> Result<&'a ResourceSettings, Failure> {
    let found = match path {
        None => settings.resources.first(),
        Some(path) => settings
            .resources
            .iter()
            .find(|resource| resource.path == path),
    };
    found.ok_or_else(|| {
        let paths: Vec<&str> = settings
            .resources
            .iter()
            .map(|own| own.path.as_str())
            .collect();
        Failure::Usage(format!(
            "no such resource; there are `{}`",
            paths.join("`, `")
        ))
    })
}

fn of_token(
    settings: &Settings,
    resource: &ResourceSettings,
    policy: &Policy,
    token: &str,
    clock: &dyn Clock,
) -> Result<Subject<'static>, Failure> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let ring = key_ring(settings, clock, random.as_ref()).map_err(Failure::usage)?;
    let keys = ring.sealing.iter().map(|key| (key.id, &key.secret));
    let sealer = Sealer::new(settings.public_url.clone(), keys).map_err(Failure::usage)?;
    let issuer = TokenIssuer::new(
        settings.public_url.clone(),
        Arc::new(sealer),
        &ring,
        settings.tokens.signing_alg,
        random,
    );
    let issuer = issuer.map_err(Failure::usage)?;
    let access = issuer
        .verify(token, resource.uri.as_str(), clock.now())
        .map_err(|error| Failure::Usage(format!("the token is not good: {error}")))?;
    let subject = policy.subject(
        &access.subject,
        &access.client_id,
        &access.scope,
        &access.claims,
    );
    Ok(subject.into_owned())
}

fn of_claims(policy: &Policy, arguments: &TestArgs) -> Result<Subject<'static>, Failure> {
    let text = arguments.claims.as_deref().unwrap_or("{}");
    let claims: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| Failure::Usage(format!("--claims is not a JSON object: {error}")))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let scope = arguments.scope.as_deref().unwrap_or_else(|| text("scope"));
    let scope = ScopeSet::parse(scope);
    let subject = policy.subject(text("sub"), text("client_id"), &scope, &claims);
    Ok(subject.into_owned())
}

/// `tools/call:NAME` → the method and what it names.
fn call(text: &str) -> Result<Target<'_>, Failure> {
    let (method, name) = match text.split_once(':') {
        Some((method, name)) => (method, Some(name)),
        None => (text, None),
    };
    let kind = match method {
        "tools/call" => Some(Kind::Tool),
        "prompts/get" => Some(Kind::Prompt),
        "resources/read"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "subscriptions/listen" => Some(Kind::Resource),
        _ => None,
    };
    let thing = kind.zip(name.filter(|name| !name.is_empty()));
    let needless = method == "subscriptions/listen" && name.is_none();
    match (kind, name) {
        (Some(_), _) if thing.is_none() && !needless => Err(Failure::Usage(format!(
            "write what is meant: `{method}:NAME`"
        ))),
        (None, Some(_)) => Err(Failure::Usage(format!(
            "`{method}` names nothing that rules could be about; leave away what follows the colon"
        ))),
        _ => Ok(Target { method, thing }),
    }
}

fn in_words(told: &Explanation, call: &str, path: &str) -> String {
    let mut text = format!("{call} at {path}: {}\n", told.decision.replace('_', " "));
    if let Some(why) = &told.why {
        let _ = writeln!(text, "  because {why}");
    }
    let _ = writeln!(text, "  {}", told.answer);
    for rule in &told.rules {
        if let Some(policy) = &rule.policy {
            let _ = writeln!(text, "policy {policy}, {}: {}", rule.effect, rule.says);
            continue;
        }
        let line = if rule.line == 0 {
            String::new()
        } else {
            format!(" (line {})", rule.line)
        };
        let _ = writeln!(
            text,
            "rule[{}]{line}, {}: {}",
            rule.rule, rule.effect, rule.says
        );
    }
    if told.rules.is_empty() {
        text.push_str("the resource has no rules: every call is forwarded\n");
    }
    text
}
