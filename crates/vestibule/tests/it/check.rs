//! `vestibule check`: what `serve` would refuse is said first, and what provider, upstream and public URL answer is judged.

use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use vestibule::House;
use vestibule::keys::KeyRing;
use vestibule::serve::ServeLimits;
use vestibule::settings::{NoEnvironment, Settings};
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::time::SystemClock;
use vestibule_standin::cognito::{Cognito, CognitoOptions, Endpoint, Fault};
use vestibule_standin::demo::{Demo, DemoOptions};

use crate::support::Place;

/// What a check came to.
struct Checked {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Checked {
    fn of(output: &std::process::Output) -> Self {
        let findings = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&output.stderr)));
        Self {
            code: output.status.code(),
            findings,
        }
    }

    #[track_caller]
    fn has(&self, severity: &str, slug: &str, says: &str) -> &Value {
        let found = self.findings.iter().find(|finding| {
            finding["severity"] == severity
                && finding["slug"] == slug
                && finding.to_string().contains(says)
        });
        found.unwrap_or_else(|| panic!("no {severity} [{slug}] '{says}' in {:#?}", self.findings))
    }

    fn slugs(&self, severity: &str) -> Vec<&str> {
        let same = self
            .findings
            .iter()
            .filter(|finding| finding["severity"] == severity);
        same.map(|finding| finding["slug"].as_str().unwrap())
            .collect()
    }
}

const STATIC: &str = "\
public_url = \"https://mcp.example.com\"
[provider]
issuer = \"http://127.0.0.1:1/pool\"
client_id = \"c\"
[[resource]]
path = \"/mcp\"
upstream = \"http://127.0.0.1:1/mcp\"
[keys]
file = \"keys.toml\"
";

fn prepared(name: &str, config: &str) -> Place {
    let place = Place::new(name);
    place.write("vestibule.toml", config);
    let keys = place.run(&["keys", "generate", "--out", "keys.toml"]);
    assert!(keys.status.success());
    place
}

#[test]
fn a_good_configuration_is_0_and_asks_nobody() {
    let place = prepared("check-good", STATIC);
    let output = place.run(&["check"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "nothing is wrong\n"
    );
    assert!(output.stderr.is_empty());
    let checked = Checked::of(&place.run(&["check", "--json"]));
    assert_eq!((checked.code, checked.findings.len()), (Some(0), 0));
}

#[test]
fn warnings_are_told_and_are_0() {
    let place = prepared(
        "check-warn",
        &format!("{STATIC}[limits]\nenabled = false\n"),
    );
    let checked = Checked::of(&place.run(&["check", "--json"]));
    assert_eq!(checked.code, Some(0));
    let warning = checked.has("warning", "setting", "limits are off");
    assert_eq!(
        (&warning["key"], &warning["line"]),
        (&"limits.enabled".into(), &11.into())
    );
    let text = String::from_utf8(place.run(&["check"]).stdout).unwrap();
    assert!(
        text.starts_with("1. warning [setting] vestibule.toml:11: limits.enabled: limits are off"),
        "{text}"
    );
    assert!(text.ends_with("0 errors, 1 warning\n"), "{text}");
}

#[test]
fn every_problem_is_a_finding_with_place_and_suggestion() {
    let config = STATIC
        .replace("issuer", "isuer")
        .replace("client_id = \"c\"", "client_id = 7");
    let place = prepared("check-wrong", &config);
    let mut command = place.command(&["check", "--json"]);
    let output = command
        .env("VESTIBULE__TOKENS__FORMAT", "seald")
        .output()
        .unwrap();
    let checked = Checked::of(&output);
    assert_eq!(checked.code, Some(2));
    let unknown = checked.has("error", "setting", "provider.isuer");
    assert_eq!(unknown["suggestion"], "issuer");
    assert_eq!(
        (&unknown["file"], &unknown["line"]),
        (&"vestibule.toml".into(), &3.into())
    );
    let variable = checked.has("error", "setting", "tokens.format");
    assert_eq!(variable["variable"], "VESTIBULE__TOKENS__FORMAT");
    assert_eq!(variable["suggestion"], "sealed");
    checked.has("error", "setting", "must be text, not a number");
    checked.has("error", "setting", "provider.issuer");
}

/// Settings that read well, and files that do not.
#[test]
fn what_serve_refuses_later_is_refused_by_check() {
    for (name, slug, key, config, file) in [
        (
            "ring",
            "key-ring",
            "keys.file",
            STATIC.to_owned(),
            Some("keys.toml"),
        ),
        (
            "tls",
            "tls-files",
            "server.tls.cert",
            format!("{STATIC}[server]\ntls = {{ cert = \"x.pem\", key = \"x.pem\" }}\n"),
            Some("x.pem"),
        ),
        (
            "ca",
            "ca-file",
            "",
            STATIC.replace("client_id", "ca_file = \"x.pem\"\nclient_id"),
            Some("x.pem"),
        ),
        (
            "alg",
            "signing-key",
            "tokens.signing_alg",
            format!("{STATIC}[tokens]\nsigning_alg = \"RS256\"\n"),
            None,
        ),
    ] {
        let place = prepared(&format!("check-{name}"), &config);
        if let Some(file) = file {
            place.write(file, "this is no such file");
        }
        let checked = Checked::of(&place.run(&["check", "--json"]));
        assert_eq!(checked.code, Some(2), "{name}");
        let finding = checked.has("error", slug, "");
        assert_eq!(finding["key"].as_str().unwrap_or_default(), key, "{name}");
        let served = place.run(&["serve"]);
        assert_eq!(served.status.code(), Some(2), "{name}");
    }
}

/// Stand-in, demo and, if wanted, Vestibule, each on a port of its own.
struct Street {
    place: Place,
    cognito: Cognito,
    _demo: Demo,
    config: String,
    _running: Option<DropGuard>,
}

impl Street {
    async fn new(name: &str, options: CognitoOptions, serve: bool) -> Self {
        let cognito = Cognito::start(options, Arc::new(SystemClock))
            .await
            .unwrap();
        let demo = Demo::start(DemoOptions::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        cognito.allow_callback(&format!("{origin}/callback"));
        let config = format!(
            "public_url = \"{origin}\"\n\
             [provider]\nissuer = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\npreset = \"cognito\"\n\
             scopes = [\"openid\", \"email\"]\n\
             [[resource]]\npath = \"/mcp\"\nupstream = \"{}\"\ncredential = {{ type = \"vestibule-token\" }}\n\
             [keys]\nfile = \"keys.toml\"\n",
            cognito.issuer(),
            cognito.client_id(),
            cognito.client_secret(),
            demo.url(),
        );
        let place = prepared(name, &config);
        let running = serve.then(|| run_house(&place, &config, listener));
        Self {
            place,
            cognito,
            _demo: demo,
            config,
            _running: running,
        }
    }

    async fn check(&self) -> Checked {
        let command = self.place.command(&["check", "--probe", "--json"]);
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .unwrap();
        Checked::of(&output)
    }

    /// With other text in the configuration.
    async fn check_with(&self, from: &str, to: &str) -> Checked {
        assert!(self.config.contains(from), "{from}");
        self.place
            .write("vestibule.toml", &self.config.replace(from, to));
        self.check().await
    }
}

fn run_house(place: &Place, config: &str, listener: TcpListener) -> DropGuard {
    let name = place.0.join("vestibule.toml");
    let settings = Settings::from_toml(config, &name.to_string_lossy(), &NoEnvironment).unwrap();
    let limits = ServeLimits::from(&settings.server);
    let ring = KeyRing::load(&place.0.join("keys.toml")).unwrap();
    let house = House::build(
        settings,
        &ring,
        None,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    );
    let router = house.unwrap().router();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        vestibule::serve::run(vec![listener], router, limits, None, stop).await;
    });
    shutdown.drop_guard()
}

#[tokio::test]
async fn a_street_that_works_is_all_well() {
    let street = Street::new("probe-well", CognitoOptions::default(), true).await;
    let checked = street.check().await;
    assert_eq!(checked.code, Some(0), "{:#?}", checked.findings);
    assert_eq!(
        checked.slugs("ok"),
        [
            "provider-discovery",
            "provider-keys",
            "provider-authorize",
            "provider-credentials",
            "public-url",
            "public-challenge"
        ]
    );
    // The demo asks nobody for a token, and is on this computer.
    checked.has("note", "upstream", "WITHOUT A TOKEN");
    assert!(
        checked.slugs("warning").is_empty(),
        "{:#?}",
        checked.findings
    );
}

#[tokio::test]
async fn a_wrong_registration_at_the_provider_is_found_without_a_user() {
    let street = Street::new("probe-registration", CognitoOptions::default(), false).await;
    let secret = street.cognito.client_secret();
    let checked = street.check_with(secret, "wrong-secret-wrong-secret").await;
    assert_eq!(checked.code, Some(1));
    checked.has("error", "provider-credentials", "invalid_client");
    checked.has("ok", "provider-authorize", "");
    assert!(!format!("{:?}", checked.findings).contains("wrong-secret"));

    let public = format!("\"{}\"", street.config.split('"').nth(1).unwrap());
    let checked = street
        .check_with(&public, "\"https://other.example.invalid\"")
        .await;
    let finding = checked.has("error", "provider-authorize", "redirect_mismatch");
    let fix = finding["suggestion"].as_str().unwrap();
    assert!(
        fix.contains("https://other.example.invalid/callback"),
        "{fix}"
    );

    let checked = street
        .check_with("\"email\"]", "\"email\", \"nobody/knows\"]")
        .await;
    checked.has("error", "provider-authorize", "invalid_scope");
}

#[tokio::test]
async fn a_provider_that_is_another_or_broken_is_named() {
    let street = Street::new("probe-broken", CognitoOptions::default(), false).await;
    let control = street.cognito.control();
    control.set_fault(Endpoint::Discovery, Some(Fault::WrongIssuer), None);
    let checked = street.check().await;
    assert_eq!(checked.code, Some(1));
    let finding = checked.has("error", "provider-issuer", "byte for byte");
    assert!(
        finding["suggestion"]
            .as_str()
            .unwrap()
            .contains("set `provider.issuer` to")
    );

    for (endpoint, fault, slug, severity) in [
        (
            Endpoint::Discovery,
            Fault::Status(500),
            "provider-discovery",
            "error",
        ),
        (
            Endpoint::Discovery,
            Fault::TruncatedJson,
            "provider-discovery",
            "error",
        ),
        (Endpoint::Jwks, Fault::Status(404), "provider-keys", "error"),
        (
            Endpoint::Token,
            Fault::Status(503),
            "provider-credentials",
            "warning",
        ),
        (
            Endpoint::Token,
            Fault::HtmlForbidden,
            "provider-credentials",
            "warning",
        ),
    ] {
        control.clear_faults();
        control.set_fault(endpoint, Some(fault), None);
        street.check().await.has(severity, slug, "");
    }
}

#[tokio::test]
async fn a_pool_without_domain_or_code_grant_is_named() {
    let options = CognitoOptions {
        pool_has_domain: false,
        ..CognitoOptions::default()
    };
    let street = Street::new("probe-domain", options, false).await;
    let checked = street.check().await;
    checked.has("error", "provider-endpoints", "authorization_endpoint");
    assert!(!checked.slugs("ok").contains(&"provider-authorize"));

    let mut options = CognitoOptions::default();
    options.clients[0].code_grant_disabled = true;
    let street = Street::new("probe-grant", options, false).await;
    let finding = street.check().await;
    let finding = finding.has("error", "provider-authorize", "unauthorized_client");
    assert!(
        finding["suggestion"]
            .as_str()
            .unwrap()
            .contains("code grant")
    );
}

#[tokio::test]
async fn an_upstream_or_public_url_that_is_not_there_is_named() {
    let street = Street::new("probe-down", CognitoOptions::default(), true).await;
    let upstream = street.config.split("upstream = \"").nth(1).unwrap();
    let upstream = upstream.split('"').next().unwrap();
    let checked = street.check_with(upstream, "http://127.0.0.1:1/mcp").await;
    checked.has("error", "upstream", "cannot be reached");
    let checked = street
        .check_with(upstream, &format!("{upstream}/nothing/here"))
        .await;
    checked.has("error", "upstream", "correct the path");

    // Somebody else answers at the public URL: the provider's own host.
    let public = street.config.split('"').nth(1).unwrap();
    let other = street.cognito.domain();
    let checked = street
        .check_with(
            &format!("public_url = \"{public}\""),
            &format!("public_url = \"{other}\""),
        )
        .await;
    checked.has("error", "public-url", "not our document");

    // We answer, under another name.
    let named = public.replace("127.0.0.1", "localhost");
    let checked = street
        .check_with(
            &format!("public_url = \"{public}\""),
            &format!("public_url = \"{named}\""),
        )
        .await;
    let finding = checked.has("error", "public-issuer", public);
    assert!(finding["message"].as_str().unwrap().contains(&named));

    let nobody = "http://127.0.0.1:1";
    let checked = street
        .check_with(
            &format!("public_url = \"{public}\""),
            &format!("public_url = \"{nobody}\""),
        )
        .await;
    checked.has("warning", "public-url", "cannot be read from here");
}
