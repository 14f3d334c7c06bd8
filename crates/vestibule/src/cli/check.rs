//! `vestibule check`: everything that `serve` would refuse, said first; and with `--probe` what provider, upstreams and the
//! public URL answer (facts/cognito-and-agentcore.md §6, facts/deployment-and-operations.md §5.3).

mod finding;
mod outside;
mod provider;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use vestibule_oauth::random::{Random, SystemRandom};
use vestibule_oauth::time::{Clock, SystemClock};

use self::finding::{Finding, Findings, Severity};
use super::serve::{config_file, load};
use super::{Failure, print, runtime};
use crate::keys::KeyRing;
use crate::reload::key_ring;
use crate::serve::tls_config;
use crate::settings::{KeysSettings, Report, Settings, Strings};
use crate::{BuildError, House};

/// Options of `vestibule check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing is wrong; there may be warnings
  1  the configuration is accepted, but a probe found an error
  2  `serve` would refuse the configuration")]
pub(super) struct CheckArgs {
    /// The configuration file [default: as for `serve`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the provider, the upstreams and the public URL as well. Nobody is signed in.
    #[arg(long)]
    probe: bool,
    /// Print a JSON list of findings.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CheckArgs, env: &dyn Strings) -> Result<(), Failure> {
    let path = config_file(arguments.config.as_deref(), env);
    let report = load(path.as_deref(), env)?;
    let mut findings = Findings::default();
    let settings = configuration(&report, &mut findings);
    let refused = findings.errors() > 0;
    if let Some(settings) = settings.filter(|_| arguments.probe) {
        runtime()?.block_on(async {
            for provider in settings.providers() {
                provider::probe(settings, provider, &mut findings).await;
            }
            for resource in &settings.resources {
                outside::upstream(resource, &mut findings).await;
            }
            outside::public_url(settings, &mut findings).await;
        });
    }
    let failed = findings.errors() > 0;
    if arguments.json {
        print::line(&findings.json());
    } else {
        print::text(&findings.text());
    }
    match (refused, failed) {
        (true, _) => Err(Failure::Told(2)),
        (false, true) => Err(Failure::Told(1)),
        (false, false) => Ok(()),
    }
}

/// What can be known without asking anybody. The settings, if they can be understood.
fn configuration<'a>(report: &'a Report, findings: &mut Findings) -> Option<&'a Settings> {
    for warning in &report.warnings {
        findings.add(Finding::of_setting(Severity::Warning, warning));
    }
    let settings = match &report.outcome {
        Ok(settings) => settings,
        Err(error) => {
            for problem in error.problems() {
                findings.add(Finding::of_setting(Severity::Error, problem));
            }
            return None;
        }
    };
    for note in &settings.notes {
        findings.add(Finding::new(Severity::Note, "note", note));
    }
    if let Some(Err(error)) = settings.server.tls.as_ref().map(tls_config) {
        let finding = Finding::new(Severity::Error, "tls-files", error)
            .why("Without them nobody can connect.")
            .at(report, "server.tls.cert");
        findings.add(finding);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    match key_ring(settings, clock.as_ref(), random.as_ref()) {
        Ok(ring) => build(report, settings, &ring, (clock, random), findings),
        Err(error) => {
            let keys = match settings.keys {
                KeysSettings::Inline(_) => "keys.ring",
                _ => "keys.file",
            };
            let finding = Finding::new(Severity::Error, "key-ring", format!("key ring: {error}"))
                .why("Nothing can be sealed or signed without it.")
                .fix("make one with `vestibule keys generate --out keys.toml`")
                .at(report, keys);
            findings.add(finding);
        }
    }
    Some(settings)
}

/// Builds the house and lets it go; it talks to nobody.
fn build(
    report: &Report,
    settings: &Settings,
    ring: &KeyRing,
    (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    findings: &mut Findings,
) {
    let Err(error) = House::build(settings.clone(), ring, None, clock, random) else {
        return;
    };
    let finding = |slug| Finding::new(Severity::Error, slug, &error);
    findings.add(match &error {
        BuildError::Sealing(_) => finding("key-ring").at(report, "keys.file"),
        BuildError::Signing(_) => finding("signing-key")
            .why("Tokens are signed with a key of the ring.")
            .fix("set `tokens.signing_alg` to what the ring has, or add such a key to the ring")
            .at(report, "tokens.signing_alg"),
        BuildError::Trust { .. } => {
            finding("ca-file").why("A CA file that cannot be used is not passed over.")
        }
        BuildError::Resource { .. } => finding("resource"),
    });
}
