//! Secrets that stand elsewhere: fetched once, judged like any other, and never forgotten.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;

/// Has the secrets that it is given, and remembers what it was asked for.
#[derive(Debug, Default)]
struct Vault {
    secrets: BTreeMap<&'static str, &'static str>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl SecretSource for Vault {
    async fn fetch(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        self.asked.lock().unwrap().push(reference.name.clone());
        let secret = self.secrets.get(reference.name.as_str());
        secret
            .map(|secret| Secret::new(*secret))
            .ok_or_else(|| SecretError("there is no such secret".to_owned()))
    }
}

const TEXT: &str = "public_url = \"https://mcp.example.com\"\n\
    [provider]\nissuer = \"https://id.example\"\nclient_id = \"c\"\nclient_secret = \"aws-sm:one\"\n\
    [[resource]]\npath = \"/mcp\"\nupstream = \"http://127.0.0.1:9000/mcp\"\n\
    [keys]\nring = \"aws-sm:ring\"\n\
    [clients]\ninitial_access_token = \"aws-ssm:two\"\n";

async fn load(vault: &dyn SecretSource, env: &dyn Strings) -> Result<Settings, SettingsError> {
    let directory = TestDirectory::new("secrets");
    let file = directory.write("vestibule.toml", TEXT);
    Settings::load_with(Some(&file), env, vault).await
}

#[tokio::test]
async fn references_become_secrets_and_each_is_asked_for_once() {
    let long = "a-token-that-is-long-enough-to-be-one";
    let vault = Vault {
        secrets: BTreeMap::from([("one", "fetched"), ("two", long), ("ring", "x")]),
        ..Vault::default()
    };
    let settings = load(
        &vault,
        &env([("VESTIBULE__SERVER__ORIGIN_SECRET", "aws-ssm:two")]),
    )
    .await;
    let settings = settings.unwrap();
    assert_eq!(settings.provider.client_secret.unwrap().expose(), "fetched");
    assert_eq!(
        settings.clients.initial_access_token.unwrap().expose(),
        long
    );
    assert_eq!(settings.server.origin_secrets[0].expose(), long);
    assert!(matches!(settings.keys, KeysSettings::Inline(ring) if ring.expose() == "x"));
    let mut asked = vault.asked.into_inner().unwrap();
    asked.sort();
    assert_eq!(asked, ["one", "ring", "two"]);
}

#[tokio::test]
async fn a_fetched_secret_keeps_the_rules_of_written_ones() {
    let vault = Vault {
        secrets: BTreeMap::from([("one", ""), ("two", "short"), ("ring", "x")]),
        ..Vault::default()
    };
    let result = load(&vault, &NoEnvironment).await;
    refused(
        result,
        &[
            ":5:1: provider.client_secret: the secret is empty",
            "clients.initial_access_token: is shorter than",
        ],
    );
}

#[tokio::test]
async fn what_cannot_be_fetched_is_a_problem_at_its_line() {
    let result = load(&Vault::default(), &NoEnvironment).await;
    refused(
        result,
        &[":5:1: provider.client_secret: one in AWS Secrets Manager: there is no such secret"],
    );
    let result = load(&NoSecretSource, &NoEnvironment).await;
    refused(
        result,
        &["keys.ring: ring in AWS Secrets Manager: this vestibule was built without AWS"],
    );
}

#[test]
fn a_reference_that_nobody_fetched_is_never_taken_for_the_secret() {
    refused(
        read(TEXT),
        &["provider.client_secret: one in AWS Secrets Manager: was not fetched"],
    );
    refused(
        with("", "client_secret = \"aws-sm:\"", "", ""),
        &["provider.client_secret: is not a reference to a secret: it needs the name or the ARN"],
    );
}
