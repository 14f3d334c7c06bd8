//! The ways out to hosts that the operator named: one connection pool for each, kept across reloads of the configuration
//! while whom to trust stays the same.

use std::collections::HashMap;
use std::path::Path;
#[cfg(feature = "aws")]
use std::sync::Arc;

use vestibule_guard::fetch::{AddressPolicy, Outbound, Protocol, Trust};
#[cfg(feature = "aws")]
use vestibule_oauth::random::Random;
#[cfg(feature = "aws")]
use vestibule_oauth::time::Clock;

use crate::BuildError;
#[cfg(feature = "aws")]
use crate::aws::{Aws, AwsEnvironment, AwsError};

/// Every way out of one house, by the name of the setting it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    before: HashMap<String, Way>,
    open: HashMap<String, Way>,
    #[cfg(feature = "aws")]
    aws: Option<Arc<Aws>>,
}

#[derive(Clone, Debug)]
struct Way {
    outbound: Outbound,
    trusted: Trusted,
    protocol: Protocol,
    kept: bool,
}

/// What decides whom a way out believes.
#[derive(Clone, Debug)]
enum Trusted {
    /// Plain http.
    Nobody,
    /// The system's certificate authorities, and those in this PEM file as it is now.
    System(Option<Vec<u8>>),
}

impl Ways {
    /// None yet; those of `before` are taken over as they are asked for.
    pub(crate) fn after(before: Option<&Self>) -> Self {
        Self {
            before: before.map(|ways| ways.open.clone()).unwrap_or_default(),
            open: HashMap::new(),
            #[cfg(feature = "aws")]
            aws: before.and_then(|ways| ways.aws.clone()),
        }
    }

    /// AWS as the environment describes it, which does not change in a process: what its chain of credentials gave is kept.
    #[cfg(feature = "aws")]
    pub(crate) fn aws(
        &mut self,
        environment: &AwsEnvironment,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Arc<Aws>, AwsError> {
        if let Some(aws) = &self.aws {
            return Ok(Arc::clone(aws));
        }
        let (clock, random) = (Arc::clone(clock), Arc::clone(random));
        let aws = Aws::from_environment(environment.clone(), clock, random)?;
        self.aws = Some(Arc::clone(&aws));
        Ok(aws)
    }

    /// The way to `url` for the setting `name`, in this protocol. The system's certificate authorities are read once: changes there need a
    /// restart.
    pub(crate) fn open(
        &mut self,
        name: String,
        url: &str,
        ca_file: Option<&Path>,
        protocol: Protocol,
    ) -> Result<Outbound, BuildError> {
        let authorities = authorities(&name, ca_file)?;
        let nobody = url.starts_with("http://") && authorities.is_none();
        let way = match self.before.remove(&name) {
            Some(way)
                if way.protocol == protocol && way.trusted.is(nobody, authorities.as_deref()) =>
            {
                Way { kept: true, ..way }
            }
            _ => Way {
                // The operator typed the address: it may be private.
                outbound: Outbound::speaking(
                    protocol,
                    AddressPolicy::Configured,
                    &trust(&name, url, authorities.as_deref())?,
                ),
                protocol,
                trusted: if nobody {
                    Trusted::Nobody
                } else {
                    Trusted::System(authorities)
                },
                kept: false,
            },
        };
        let outbound = way.outbound.clone();
        self.open.insert(name, way);
        Ok(outbound)
    }

    /// Lets go of the ways that nobody asked for.
    pub(crate) fn complete(self) -> Self {
        let before = HashMap::new();
        Self { before, ..self }
    }

    /// True when the way was taken over.
    pub(crate) fn is_kept(&self, name: &str) -> bool {
        self.open.get(name).is_some_and(|way| way.kept)
    }
}

impl Trusted {
    fn is(&self, nobody: bool, authorities: Option<&[u8]>) -> bool {
        match self {
            Self::Nobody => nobody,
            Self::System(own) => !nobody && own.as_deref() == authorities,
        }
    }
}

/// What stands in a file of further certificate authorities.
pub(crate) fn authorities(
    name: &str,
    ca_file: Option<&Path>,
) -> Result<Option<Vec<u8>>, BuildError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| unreadable(name, format!("{}: {error}", path.display())))
    };
    ca_file.map(read).transpose()
}

/// Whom to believe about the host of `url`: the system's certificate authorities and those in `pem`. Plain http needs
/// nobody, so development works on a machine without certificate authorities.
pub(crate) fn trust(name: &str, url: &str, pem: Option<&[u8]>) -> Result<Trust, BuildError> {
    let trust = if url.starts_with("http://") && pem.is_none() {
        Trust::nobody()
    } else {
        Trust::platform(pem)
    };
    trust.map_err(|error| unreadable(name, error.to_string()))
}

fn unreadable(name: &str, cause: String) -> BuildError {
    BuildError::Trust {
        name: name.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .unwrap()
            .cert
            .pem()
    }

    #[test]
    fn a_way_is_kept_until_whom_it_trusts_changes() {
        let directory = TestDirectory::new("ways");
        let file = directory.write("ca.pem", &pem());
        let open = |before: Option<&Ways>, url: &str, file: Option<&Path>| {
            let mut ways = Ways::after(before);
            ways.open("p".to_owned(), url, file, Protocol::Http1)
                .unwrap();
            ways
        };
        let plain = open(None, "http://h/", None);
        assert!(!plain.is_kept("p") && !plain.is_kept("q"));
        let plain = open(Some(&plain), "http://elsewhere/", None);
        assert!(plain.is_kept("p"), "pools are by host already");
        let trusting = open(Some(&plain), "http://h/", Some(&file));
        assert!(!trusting.is_kept("p"));
        let trusting = open(Some(&trusting), "https://h/", Some(&file));
        assert!(trusting.is_kept("p"));
        directory.write("ca.pem", &pem());
        let renewed = open(Some(&trusting), "https://h/", Some(&file));
        assert!(!renewed.is_kept("p"), "the same name, other authorities");
        let mut other = Ways::after(Some(&renewed));
        let (name, url) = ("p".to_owned(), "https://h/");
        other.open(name, url, Some(&file), Protocol::Http2).unwrap();
        assert!(!other.is_kept("p"), "another protocol");
    }
}
