//! Secrets by reference, read from AWS Secrets Manager and Parameter Store into a configuration.

use serde_json::{Value, json};
use vestibule::aws::{AwsSecrets, Retry, SECRETS_MANAGER, SSM, Service};
use vestibule::settings::{CredentialSettings, KeysSettings, NoEnvironment, Settings};
use vestibule_oauth::random::{Random as _, SystemRandom};

async fn ask(service: Service, operation: &str, input: Value) -> Value {
    let client = crate::aws().client(service, None, None).unwrap();
    client.call(operation, &input, Retry::Freely).await.unwrap()
}

/// A secret of a new name; its ARN.
async fn secret(value: Value) -> (String, String) {
    let name = format!("vestibule/{}", SystemRandom.token(9));
    let mut input = json!({ "Name": name, "ClientRequestToken": SystemRandom.token(32) });
    let (Some(input_map), Value::Object(value)) = (input.as_object_mut(), value) else {
        panic!("an object");
    };
    input_map.extend(value);
    let answer = ask(SECRETS_MANAGER, "CreateSecret", input).await;
    (name, answer["ARN"].as_str().unwrap().to_owned())
}

/// What a configuration with these references loads as.
async fn load(client_secret: &str, ring: &str, header: &str) -> Result<Settings, String> {
    let text = format!(
        r#"
public_url = "https://mcp.example.com"

[provider]
issuer = "https://login.example.com"
client_id = "vestibule"
client_secret = "{client_secret}"

[[resource]]
path = "/mcp"
upstream = "http://127.0.0.1:9000/mcp"
credential = {{ type = "header", name = "X-Api-Key", value = "{header}" }}

[keys]
ring = "{ring}"
"#
    );
    let file = std::env::temp_dir().join(format!("vestibule-aws-{}.toml", SystemRandom.token(9)));
    std::fs::write(&file, text).unwrap();
    let source = AwsSecrets::of(crate::aws());
    let settings = Settings::load_with(Some(&file), &NoEnvironment, &source).await;
    std::fs::remove_file(&file).unwrap();
    settings.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_configuration_takes_its_secrets_from_aws() {
    let (name, _) = secret(json!({ "SecretString": "{\"oidc\":\"from-json\",\"n\":1}" })).await;
    let (_, ring_arn) = secret(json!({ "SecretString": "the ring\n" })).await;
    let parameter = format!("/vestibule/{}", SystemRandom.token(9));
    let input = json!({ "Name": parameter, "Value": "an-api-key", "Type": "SecureString" });
    ask(SSM, "PutParameter", input).await;

    let settings = load(
        &format!("aws-sm:{name}?region=eu-west-1#oidc"),
        &format!("aws-sm:{ring_arn}"),
        &format!("aws-ssm:{parameter}"),
    )
    .await
    .unwrap();

    let secret = settings.provider.client_secret.unwrap();
    assert_eq!(secret.expose(), "from-json");
    let KeysSettings::Inline(ring) = &settings.keys else {
        panic!("{:?}", settings.keys);
    };
    assert_eq!(ring.expose(), "the ring");
    let CredentialSettings::Header { value, .. } = &settings.resources[0].credential else {
        panic!("no header");
    };
    assert_eq!(value.expose(), "an-api-key");
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_stands_at_the_line_of_its_reference() {
    let (json_name, _) = secret(json!({ "SecretString": "{\"oidc\":\"hidden-value\"}" })).await;
    let (binary, _) = secret(json!({ "SecretBinary": "AAEC" })).await;
    let problems = load(
        &format!("aws-sm:{json_name}#odic"),
        &format!("aws-sm:{binary}"),
        "aws-ssm:/vestibule/nowhere",
    )
    .await
    .unwrap_err();
    let line = |start: &str| {
        problems
            .lines()
            .find(|line| line.contains(start))
            .unwrap_or_else(|| panic!("{problems}"))
    };
    let missing = line("provider.client_secret");
    assert!(missing.contains(":7:1: "), "{missing}");
    assert!(
        missing.contains("it has no such member, but `oidc`"),
        "{missing}"
    );
    assert!(line("keys.ring").contains("is binary"), "{problems}");
    assert!(
        line("credential.value").contains("there is no such secret"),
        "{problems}"
    );
    assert!(!problems.contains("hidden-value"), "{problems}");
}
