//! Secrets that stand elsewhere: `client_secret = "aws-sm:NAME"` is a reference, and what it refers to is fetched between
//! two readings of the configuration. All rules for a secret see the secret itself, and a configuration whose references
//! nobody fetched does not load.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use vestibule_oauth::secret::Secret;

/// Where a secret stands. The reference itself is not secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretReference {
    /// The service that has it.
    pub place: SecretPlace,
    /// Its name or ARN there.
    pub name: String,
    /// The region, when it is not that of the ARN or of the environment.
    pub region: Option<String>,
    /// The staging label of AWS Secrets Manager; `AWSCURRENT` unless set.
    pub stage: Option<String>,
    /// The member of the JSON object that the secret is.
    pub json_key: Option<String>,
}

/// A service that keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    /// AWS Secrets Manager: `aws-sm:`.
    SecretsManager,
    /// The Parameter Store of AWS Systems Manager: `aws-ssm:`.
    ParameterStore,
}

/// What fetches secrets.
#[async_trait]
pub trait SecretSource: fmt::Debug + Send + Sync {
    /// The secret that `reference` means.
    async fn fetch(&self, reference: &SecretReference) -> Result<Secret, SecretError>;
}

/// Why a secret was not fetched: one sentence without a full stop and without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// For a program without the parts that fetch secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecretSource;

#[async_trait]
impl SecretSource for NoSecretSource {
    async fn fetch(&self, _: &SecretReference) -> Result<Secret, SecretError> {
        Err(SecretError(
            "this vestibule was built without AWS; build it with `--features aws`, or put the secret in a file".to_owned(),
        ))
    }
}

/// What the references of a configuration were found to mean.
pub(super) type Fetched = BTreeMap<SecretReference, Result<Secret, SecretError>>;

/// Asks for every one of them, each once.
pub(super) async fn fetch_all(
    references: Vec<SecretReference>,
    source: &dyn SecretSource,
) -> Fetched {
    let mut fetched = Fetched::new();
    for reference in references {
        if let Entry::Vacant(free) = fetched.entry(reference) {
            let secret = source.fetch(free.key()).await;
            free.insert(secret);
        }
    }
    fetched
}

impl SecretReference {
    const PLACES: [(&'static str, SecretPlace); 2] = [
        ("aws-sm:", SecretPlace::SecretsManager),
        ("aws-ssm:", SecretPlace::ParameterStore),
    ];

    /// Reads `aws-sm:NAME-OR-ARN[?region=…&stage=…][#KEY]` and `aws-ssm:NAME-OR-ARN[?region=…][#KEY]`. `None` means that
    /// the text is no reference but a secret.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        Self::PLACES.iter().find_map(|(prefix, place)| {
            let rest = text.strip_prefix(prefix)?;
            Some(
                Self::read(*place, rest)
                    .map_err(|why| format!("is not a reference to a secret: {why}")),
            )
        })
    }

    fn read(place: SecretPlace, rest: &str) -> Result<Self, String> {
        let (rest, json_key) = match rest.split_once('#') {
            Some((rest, key)) => (rest, Some(decoded(key)?)),
            None => (rest, None),
        };
        let (name, query) = match rest.split_once('?') {
            Some((name, query)) => (name, query),
            None => (rest, ""),
        };
        // AWS allows no others in names and ARNs.
        let is_name = |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-:!".contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        };
        if !is_name(name) {
            return Err("it needs the name or the ARN of a secret".to_owned());
        }
        if json_key.as_deref() == Some("") {
            return Err("nothing stands behind `#`".to_owned());
        }
        let mut reference = Self {
            place,
            name: name.to_owned(),
            region: None,
            stage: None,
            json_key,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("region", region)) if is_name(region) => {
                    reference.region = Some(region.to_owned());
                }
                Some(("stage", stage))
                    if is_name(stage) && place == SecretPlace::SecretsManager =>
                {
                    reference.stage = Some(stage.to_owned());
                }
                _ => return Err(format!("`{pair}` is not known behind `?`")),
            }
        }
        if let Some(arn) = reference.name.strip_prefix("arn:") {
            let parts: Vec<&str> = arn.splitn(5, ':').collect();
            let service = match place {
                SecretPlace::SecretsManager => "secretsmanager",
                SecretPlace::ParameterStore => "ssm",
            };
            let &[_, of, region, _, _] = parts.as_slice() else {
                return Err("the ARN is not complete".to_owned());
            };
            if of != service {
                return Err(format!("the ARN is one of `{of}`, not of `{service}`"));
            }
            if reference.region.as_deref().is_some_and(|own| own != region) {
                return Err("the region is not the one of the ARN".to_owned());
            }
            reference.region = Some(region.to_owned());
        }
        Ok(reference)
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            SecretPlace::SecretsManager => "AWS Secrets Manager",
            SecretPlace::ParameterStore => "AWS Parameter Store",
        };
        write!(f, "{} in {place}", self.name)?;
        match &self.json_key {
            Some(key) => write!(f, ", member `{key}`"),
            None => Ok(()),
        }
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "what stands behind `#` is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretReference, String> {
        SecretReference::parse(text).unwrap()
    }

    #[test]
    fn names_and_arns() {
        let plain = read("aws-sm:prod/vestibule").unwrap();
        assert_eq!(
            (plain.name.as_str(), plain.region),
            ("prod/vestibule", None)
        );
        let full = read("aws-sm:prod/vestibule?region=eu-west-1&stage=AWSPREVIOUS#client%20secret")
            .unwrap();
        assert_eq!(full.region.as_deref(), Some("eu-west-1"));
        assert_eq!(full.stage.as_deref(), Some("AWSPREVIOUS"));
        assert_eq!(full.json_key.as_deref(), Some("client secret"));
        let arn =
            read("aws-sm:arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-AbCdEf#key")
                .unwrap();
        assert_eq!(arn.region.as_deref(), Some("eu-central-1"));
        let parameter = read("aws-ssm:/vestibule/ring").unwrap();
        assert_eq!(parameter.place, SecretPlace::ParameterStore);
        assert_eq!(SecretReference::parse("s3cr3t: aws-sm:x"), None);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("aws-sm:", "name or the ARN"),
            ("aws-sm:a b", "name or the ARN"),
            ("aws-sm:x#", "behind `#`"),
            (
                "aws-sm:x?regoin=eu-west-1",
                "`regoin=eu-west-1` is not known",
            ),
            ("aws-ssm:x?stage=AWSPREVIOUS", "not known"),
            ("aws-sm:arn:aws:ssm:eu-west-1:1:parameter/x", "one of `ssm`"),
            ("aws-sm:arn:aws:secretsmanager", "not complete"),
            (
                "aws-sm:arn:aws:secretsmanager:eu-west-1:1:secret:x?region=us-east-1",
                "not the one of the ARN",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
