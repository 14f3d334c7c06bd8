//! The chain against servers that stand in for STS, a container agent and the metadata service of an instance.

use futures_util::future::join_all;

use super::*;
use crate::aws::AwsError;
use crate::aws::test_server::{START, TestServer, aws};
use crate::test_directory::TestDirectory;

const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// As a metadata service writes them.
fn written(id: &str, expiration: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"hidden-key","Token":"hidden-token","Expiration":"{expiration}"}}"#
    )
}

/// A file in it; its path as a variable holds it.
fn file(directory: &TestDirectory, name: &str, text: &str) -> String {
    directory.write(name, text).to_str().unwrap().to_owned()
}

fn why(error: AwsError) -> String {
    let AwsError::Credentials(error) = error else {
        panic!("{error}");
    };
    error.to_string()
}

async fn with_profile(config: &str, name: &str) -> Result<Arc<Credentials>, AwsError> {
    let directory = TestDirectory::new("aws");
    let file = file(&directory, "config", config);
    let (aws, _) = aws(&[
        ("AWS_CONFIG_FILE", &file),
        ("AWS_PROFILE", name),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    aws.credentials().await
}

#[tokio::test]
async fn keys_in_the_environment_come_first() {
    let (aws, _) = aws(&[
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hidden-key"),
        ("AWS_SESSION_TOKEN", "hidden-token"),
        ("AWS_PROFILE", "not there"),
    ]);
    let credentials = aws.credentials().await.unwrap();
    assert_eq!(
        (credentials.access_key_id.as_str(), credentials.source),
        ("AKID", "environment")
    );
    assert_eq!(
        credentials.session_token.as_ref().unwrap().expose(),
        "hidden-token"
    );
    let shown = format!("{credentials:?} {aws:?}");
    assert!(!shown.contains("hidden"), "{shown}");
}

#[tokio::test]
async fn the_error_says_what_was_tried_and_why_each_gave_nothing() {
    let (aws, _) = aws(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let why = why(aws.credentials().await.unwrap_err());
    assert_eq!(
        why,
        "no AWS credentials: environment: AWS_ACCESS_KEY_ID is not set; profile: there is no profile `default`; \
         web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set; container: neither \
         AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor …_FULL_URI is set; instance: AWS_EC2_METADATA_DISABLED is true"
    );
}

#[tokio::test]
async fn a_link_that_is_set_up_and_broken_ends_the_chain() {
    // Otherwise a typing mistake would make us somebody else: the instance.
    let server = TestServer::start(|_, _| (200, written("ASIA", "2026-11-22T00:00:00Z"))).await;
    let (half, _) = aws(&[
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.url),
    ]);
    let half = why(half.credentials().await.unwrap_err());
    assert!(
        half.contains("AWS_SECRET_ACCESS_KEY is not set, but"),
        "{half}"
    );
    let (missing, _) = aws(&[
        ("AWS_PROFILE", "prod"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.url),
    ]);
    let missing = why(missing.credentials().await.unwrap_err());
    assert!(
        missing.ends_with("profile: there is no profile `prod`"),
        "{missing}"
    );
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn profiles_have_keys_in_two_files_and_the_credentials_file_wins() {
    let directory = TestDirectory::new("aws");
    let config = file(
        &directory,
        "config",
        "[default]\naws_access_key_id = OTHER\n[profile prod]\nregion = eu-north-1 # Stockholm\naws_access_key_id = OLD\n\
         s3 =\n  aws_access_key_id = NESTED\n",
    );
    let shared = file(
        &directory,
        "credentials",
        "[prod]\naws_access_key_id=NEW\naws_secret_access_key = hidden/key+=\n[profile prod]\naws_access_key_id = NO\n",
    );
    let (aws, _) = aws(&[
        ("AWS_CONFIG_FILE", &config),
        ("AWS_SHARED_CREDENTIALS_FILE", &shared),
        ("AWS_PROFILE", "prod"),
    ]);
    let credentials = aws.credentials().await.unwrap();
    assert_eq!(credentials.access_key_id, "NEW");
    assert_eq!(credentials.secret_access_key.expose(), "hidden/key+=");
    let client = aws.client(crate::aws::SSM, None, None).unwrap();
    assert_eq!(client.region(), "eu-north-1");
}

#[tokio::test]
async fn a_credential_process_prints_credentials() {
    let printed = r#"{"Version":1,"AccessKeyId":"ASIA","SecretAccessKey":"k","SessionToken":"t","Expiration":"2026-11-22T00:00:00+00:00"}"#;
    let config = format!("[profile p]\ncredential_process = printf '%s' '{printed}'\n");
    let credentials = with_profile(&config, "p").await.unwrap();
    assert_eq!(credentials.access_key_id, "ASIA");
    assert_eq!(credentials.session_token.as_ref().unwrap().expose(), "t");
    assert_eq!(credentials.expires_at, Some(UnixTime(START.0 + 86_400)));
}

#[tokio::test]
async fn what_a_credential_process_prints_is_never_shown() {
    for command in [
        "echo hidden; echo hidden >&2; exit 3",
        "echo '{\"AccessKeyId\":\"hidden\"}'",
        "echo hidden",
    ] {
        let config = format!("[profile p]\ncredential_process = {command}\n");
        let error = why(with_profile(&config, "p").await.unwrap_err());
        assert!(error.contains("credential_process"), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[tokio::test]
async fn a_profile_for_the_cli_says_how_to_use_it() {
    let error = with_profile("[profile p]\nsso_session = corp\n", "p")
        .await
        .unwrap_err();
    let error = why(error);
    assert!(
        error.contains("aws configure export-credentials --profile p --format process"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_account_becomes_its_role() {
    let server = TestServer::start(|number, _| match number {
        0 => (400, "<ErrorResponse><Error><Code>IDPCommunicationError</Code></Error></ErrorResponse>".to_owned()),
        _ => (200, "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
            <AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>k/+=</SecretAccessKey><SessionToken>a&amp;b</SessionToken>\
            <Expiration>2026-11-21T01:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
            </AssumeRoleWithWebIdentityResponse>".to_owned()),
    })
    .await;
    let directory = TestDirectory::new("aws");
    let token = file(&directory, "token", "ey.J.h+d\n");
    let (aws, _) = aws(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/vestibule"),
        ("AWS_ENDPOINT_URL_STS", &server.url),
    ]);
    let credentials = aws.credentials().await.unwrap();
    assert_eq!(
        (credentials.access_key_id.as_str(), credentials.source),
        ("ASIAX", "web identity")
    );
    assert_eq!(credentials.session_token.as_ref().unwrap().expose(), "a&b");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(asked[1].body.as_bytes())
            .into_owned()
            .collect();
    assert_eq!(form["WebIdentityToken"], "ey.J.h+d");
    assert_eq!(form["RoleArn"], "arn:aws:iam::123456789012:role/vestibule");
    assert_eq!(form["RoleSessionName"], format!("vestibule-{}", START.0));
    assert_eq!(asked[1].header("authorization"), "");
}

#[tokio::test]
async fn what_sts_refuses_is_said_with_its_reason_and_without_the_token() {
    let server = TestServer::start(|_, _| {
        (403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>".to_owned())
    })
    .await;
    let directory = TestDirectory::new("aws");
    let (aws, _) = aws(&[
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            &file(&directory, "token", "hidden"),
        ),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL", &server.url),
    ]);
    let error = aws.credentials().await.unwrap_err();
    assert!(!error.is_transient());
    let error = why(error);
    assert!(
        error.ends_with("STS refuses arn:aws:iam::1:role/r: AccessDenied: Not authorized"),
        "{error}"
    );
    assert!(!error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_container_gives_credentials_to_who_has_its_token() {
    let server = TestServer::start(|_, asked| match asked.header("authorization") {
        "Basic the-token" => (200, written("ASIAC", "2026-11-21T06:00:00Z")),
        _ => (401, String::new()),
    })
    .await;
    let directory = TestDirectory::new("aws");
    let token = file(&directory, "token", "Basic the-token\n");
    let url = format!("{}/v1/credentials", server.url);
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic another"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
    ];
    let credentials = aws(&variables).0.credentials().await.unwrap();
    assert_eq!(
        (credentials.access_key_id.as_str(), credentials.source),
        ("ASIAC", "container")
    );
    // Without the file the variable is taken, and this one is refused.
    let error = aws(&variables[..2]).0.credentials().await.unwrap_err();
    assert!(why(error).ends_with("/v1/credentials answers with status 401"));
}

/// The metadata service of an instance with a role.
async fn instance() -> TestServer {
    TestServer::start(|number, asked| {
        if asked.line.starts_with("PUT ") {
            assert_eq!(asked.line, "PUT /latest/api/token");
            return (200, "imds-token".to_owned());
        }
        if asked.header(TOKEN_HEADER) != "imds-token" {
            return (401, String::new());
        }
        match asked.line.as_str() {
            "GET /latest/meta-data/iam/security-credentials/" => (200, "the-role\n".to_owned()),
            "GET /latest/meta-data/iam/security-credentials/the-role" => (
                200,
                written(&format!("ASIA{number}"), "2026-11-21T06:00:00Z"),
            ),
            _ => (404, String::new()),
        }
    })
    .await
}

#[tokio::test]
async fn an_instance_gives_its_role_by_version_2_only() {
    let server = instance().await;
    let (aws, _) = aws(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    let credentials = aws.credentials().await.unwrap();
    assert_eq!(
        (credentials.access_key_id.as_str(), credentials.source),
        ("ASIA2", "instance")
    );
    assert_eq!(
        server.asked()[0].header("x-aws-ec2-metadata-token-ttl-seconds"),
        "60"
    );
}

#[tokio::test]
async fn a_computer_that_is_no_instance_is_told_apart_from_one_that_does_not_answer() {
    // A port that was free a moment ago.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (aws, _) = aws(&[(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        &format!("http://{nobody}"),
    )]);
    let error = aws.credentials().await.unwrap_err();
    assert!(!error.is_transient());
    assert!(why(error).contains("instance: there is no metadata service"));
    let busy = TestServer::start(|_, _| (503, String::new())).await;
    let (aws, _) =
        crate::aws::test_server::aws(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &busy.url)]);
    let error = aws.credentials().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(busy.asked().len(), 3);
}

#[tokio::test]
async fn credentials_are_renewed_ahead_of_their_end_by_one_caller() {
    let server = instance().await;
    let (aws, clock) = aws(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url)]);
    let all = join_all((0..20).map(|_| aws.credentials())).await;
    assert!(
        all.into_iter()
            .all(|one| one.unwrap().access_key_id == "ASIA2")
    );
    assert_eq!(server.asked().len(), 3, "one walk for twenty callers");
    clock.advance(6 * 3600 - 301);
    assert_eq!(aws.credentials().await.unwrap().access_key_id, "ASIA2");
    clock.advance(1);
    assert_eq!(aws.credentials().await.unwrap().access_key_id, "ASIA5");
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn credentials_that_still_serve_outlive_a_fault_of_their_source() {
    let server = TestServer::start(|number, _| match number {
        0 => (200, written("ASIA0", "2026-11-21T01:00:00Z")),
        _ => (500, String::new()),
    })
    .await;
    let (aws, clock) = aws(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.url)]);
    aws.credentials().await.unwrap();
    clock.advance(3600 - 200);
    for _ in 0..3 {
        assert_eq!(aws.credentials().await.unwrap().access_key_id, "ASIA0");
    }
    assert_eq!(
        server.asked().len(),
        1 + 3,
        "one walk of three attempts, then a pause"
    );
    clock.advance(195);
    let error = aws.credentials().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
