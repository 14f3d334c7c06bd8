//! Secrets in AWS Secrets Manager and in the Parameter Store of AWS Systems Manager, for settings that refer to them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use vestibule_oauth::random::Random;
use vestibule_oauth::secret::Secret;
use vestibule_oauth::time::Clock;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Aws, AwsEnvironment, AwsError, Retry, SECRETS_MANAGER, SSM, Service};
use crate::settings::{SecretError, SecretPlace, SecretReference, SecretSource};

/// Fetches secrets by reference. Until the first one is wanted it does nothing, so a configuration without references
/// needs no AWS.
#[derive(Debug)]
pub struct AwsSecrets {
    environment: AwsEnvironment,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    aws: OnceCell<Arc<Aws>>,
}

impl AwsSecrets {
    /// With the credentials and the region of that environment.
    pub fn new(
        environment: AwsEnvironment,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            environment,
            clock,
            random,
            aws: OnceCell::new(),
        }
    }

    /// The same with AWS as it is.
    pub fn of(aws: Arc<Aws>) -> Self {
        Self {
            environment: aws.environment.clone(),
            clock: Arc::clone(&aws.clock),
            random: Arc::clone(&aws.random),
            aws: OnceCell::new_with(Some(aws)),
        }
    }

    async fn ask(&self, question: &Question, region: Option<&str>) -> Result<Value, AwsError> {
        let make = async || {
            Aws::from_environment(
                self.environment.clone(),
                Arc::clone(&self.clock),
                Arc::clone(&self.random),
            )
        };
        let aws = self.aws.get_or_try_init(make).await?;
        let client = aws.client(question.service, region, None)?;
        client
            .call(question.operation, &question.input, Retry::Freely)
            .await
    }
}

#[async_trait]
impl SecretSource for AwsSecrets {
    async fn fetch(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        let question = Question::about(reference);
        let answer = self.ask(&question, reference.region.as_deref()).await;
        let mut answer = answer.map_err(|error| SecretError(question.explain(&error)))?;
        let text = match reference.place {
            SecretPlace::SecretsManager => answer.get_mut("SecretString"),
            SecretPlace::ParameterStore => answer.pointer_mut("/Parameter/Value"),
        };
        let Some(Value::String(text)) = text.map(Value::take) else {
            let is_binary = answer.get("SecretBinary").is_some();
            return Err(SecretError(if is_binary {
                "is binary; store it as text".to_owned()
            } else {
                "the answer holds no secret".to_owned()
            }));
        };
        let text = Zeroizing::new(text);
        match &reference.json_key {
            None => Ok(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Some(key) => member(&text, key),
        }
    }
}

/// One member of a JSON object, as the console of AWS Secrets Manager makes them.
fn member(text: &str, key: &str) -> Result<Secret, SecretError> {
    let object = serde_json::from_str::<Value>(text);
    // Not a word of it in the messages but the names: it is the secret.
    let Ok(Value::Object(mut members)) = object else {
        return Err(SecretError(
            "is not a JSON object, so it has no members; leave `#…` out".to_owned(),
        ));
    };
    let found = members.remove(key);
    let names: Vec<String> = members.keys().map(|name| format!("`{name}`")).collect();
    for value in members.values_mut() {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
    match found {
        Some(Value::String(secret)) => Ok(Secret::new(secret)),
        Some(_) => Err(SecretError(format!("its member `{key}` is not text"))),
        None if names.is_empty() => Err(SecretError("it has no members".to_owned())),
        None => Err(SecretError(format!(
            "it has no such member, but {}",
            names.join(", ")
        ))),
    }
}

struct Question {
    service: Service,
    operation: &'static str,
    /// What IAM calls the permission.
    action: &'static str,
    input: Value,
}

impl Question {
    fn about(reference: &SecretReference) -> Self {
        match reference.place {
            SecretPlace::SecretsManager => {
                let mut input = json!({ "SecretId": reference.name });
                if let Some(stage) = &reference.stage {
                    input["VersionStage"] = json!(stage);
                }
                Self {
                    service: SECRETS_MANAGER,
                    operation: "GetSecretValue",
                    action: "secretsmanager:GetSecretValue",
                    input,
                }
            }
            SecretPlace::ParameterStore => Self {
                service: SSM,
                operation: "GetParameter",
                action: "ssm:GetParameter",
                input: json!({ "Name": reference.name, "WithDecryption": true }),
            },
        }
    }

    fn explain(&self, error: &AwsError) -> String {
        let action = self.action;
        match error.code() {
            _ if error.is_denied() => format!(
                "not allowed: who we are needs `{action}` on it, and `kms:Decrypt` if its key is one of your own ({error})"
            ),
            Some(
                "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound",
            ) => {
                format!("there is no such secret in this account and region ({error})")
            }
            Some("DecryptionFailure" | "InvalidKeyId") => {
                format!("cannot be decrypted: who we are needs `kms:Decrypt` on its key ({error})")
            }
            Some("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired") => {
                format!(
                    "the signature is refused: look at this computer's clock and at the secret key ({error})"
                )
            }
            _ => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::test_server::{TestServer, aws_at};

    async fn fetch(status: u16, answer: &str, reference: &str) -> Result<String, String> {
        let answer = answer.to_owned();
        let server = TestServer::start(move |_, _| (status, answer.clone())).await;
        let source = AwsSecrets::of(aws_at(&server.url));
        let reference = SecretReference::parse(reference).unwrap().unwrap();
        let secret = source.fetch(&reference).await;
        secret
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.0)
    }

    #[tokio::test]
    async fn who_may_not_read_is_told_which_permission_is_missing() {
        let denied =
            r#"{"__type":"AccessDeniedException","message":"no identity-based policy allows it"}"#;
        for (reference, action) in [
            ("aws-sm:x", "`secretsmanager:GetSecretValue`"),
            ("aws-ssm:x", "`ssm:GetParameter`"),
        ] {
            let error = fetch(400, denied, reference).await.unwrap_err();
            assert!(
                error.contains(action) && error.contains("kms:Decrypt"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn no_message_holds_the_secret() {
        for (secret, reference) in [
            ("hidden", "aws-sm:x#key"),
            ("[\\\"hidden\\\"]", "aws-sm:x#key"),
            ("{\\\"other\\\":\\\"hidden\\\"}", "aws-sm:x#key"),
            ("{\\\"key\\\":[\\\"hidden\\\"]}", "aws-sm:x#key"),
        ] {
            let answer = format!("{{\"SecretString\":\"{secret}\"}}");
            let error = fetch(200, &answer, reference).await.unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[tokio::test]
    async fn line_ends_behind_a_secret_are_not_part_of_it() {
        let secret = fetch(200, "{\"SecretString\":\" s3cret \\r\\n\"}", "aws-sm:x").await;
        assert_eq!(secret.unwrap(), " s3cret ");
    }
}
