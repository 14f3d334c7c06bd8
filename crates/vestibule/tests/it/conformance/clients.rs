//! Callbacks and habits of clients that cannot be run in a test: hosted ones, editors, and pages in a browser.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::PreRegistered;
use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};

use crate::support::{Answer, CALLBACK, Client, ORIGIN, TestHouse, Tokens, without};

/// Consent, sign-in, and where the code went.
async fn answer_of(house: &TestHouse, client: &Client) -> String {
    let answer = house
        .browse(&mut house.browser(), client, "ada", "lovelace")
        .await;
    if answer.status.is_redirection() {
        return answer.location().to_owned();
    }
    // An application's own scheme is opened from a page.
    let html = answer.text();
    let location = html.split("content=\"0;url=").nth(1).unwrap();
    location.split('"').next().unwrap().replace("&#38;", "&")
}

/// Each registers as its public sources say, and gets a code at its own address.
#[tokio::test]
async fn callbacks_of_hosted_and_local_clients_work_from_registration_to_token() {
    let house = TestHouse::new().await;
    for (who, registered, used) in [
        ("claude.ai", "https://claude.ai/api/mcp/auth_callback", ""),
        ("claude.com", "https://claude.com/api/mcp/auth_callback", ""),
        ("ChatGPT", "https://chatgpt.com/connector/oauth/abc123", ""),
        (
            "ChatGPT, older",
            "https://chatgpt.com/connector_platform_oauth_redirect",
            "",
        ),
        ("VS Code", "https://vscode.dev/redirect", ""),
        (
            "VS Code, busy port",
            "http://127.0.0.1:33418/",
            "http://127.0.0.1:50123/",
        ),
        ("Cursor", "cursor://anysphere.cursor-mcp/oauth/callback", ""),
        (
            "Zed, no port",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:27523/callback",
        ),
        ("Codex", "http://127.0.0.1:1455/callback/abcdefghijkl", ""),
        ("mcp-remote", "http://localhost:3334/oauth/callback", ""),
        ("opencode", "http://127.0.0.1:19876/mcp/oauth/callback", ""),
        ("Inspector", "http://127.0.0.1:6276/oauth/callback", ""),
        (
            "Copilot Studio",
            "https://global.consent.azure-apim.net/redirect/tool-1",
            "",
        ),
        ("n8n", "https://oauth.n8n.cloud/oauth2/callback", ""),
        (
            "LibreChat",
            "https://chat.example/api/mcp/tools/oauth/callback",
            "",
        ),
    ] {
        let mut client = house.register(registered).await;
        if !used.is_empty() {
            used.clone_into(&mut client.redirect_uri);
        }
        let location = answer_of(&house, &client).await;
        let expected = format!("{}?code=vac_", client.redirect_uri);
        assert!(location.starts_with(&expected), "{who}: {location}");
        let url = url::Url::parse(&location).unwrap();
        let (_, code) = url.query_pairs().find(|(name, _)| name == "code").unwrap();
        Tokens::of(&house.redeem(&client, &code).await);
    }
}

/// Kiro and Amazon Q fall back to a fixed client id with blanks in it when there is no registration.
#[tokio::test]
async fn a_fixed_client_id_with_blanks_can_be_written_down() {
    let house = TestHouse::with(|settings| {
        let uri = RedirectUri::parse(
            "http://127.0.0.1/oauth/callback",
            &PrivateUseSchemes::default(),
        );
        let kiro = PreRegistered::public("Q DEV CLI", "Kiro", vec![uri.unwrap()]);
        settings.clients.preregistered.push(kiro);
    })
    .await;
    let client = Client {
        id: "Q DEV CLI".to_owned(),
        redirect_uri: "http://127.0.0.1:49153/oauth/callback".to_owned(),
        verifier: "k".repeat(43),
    };
    let code = house.code(&client).await;
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    house.whoami(&tokens.access).await;
}

/// mcp-remote opens the browser twice with one request, and several of its processes register at the same moment.
#[tokio::test]
async fn the_same_request_in_two_windows_gives_two_codes_that_both_work() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let codes = [house.code(&client).await, house.code(&client).await];
    for code in &codes {
        Tokens::of(&house.redeem(&client, code).await);
    }
    let again = house.register(CALLBACK).await;
    assert_ne!(again.id, client.id, "each registration is its own");
}

/// Some clients keep asking for what they know from elsewhere; the answer says what they got.
#[tokio::test]
async fn scopes_of_other_services_fail_no_sign_in_and_the_answer_says_what_was_granted() {
    let house = TestHouse::new().await;
    for asked in [
        "claudeai",
        "openid email profile",
        "mcp:read mcp:write offline_access",
        " offline_access",
        "",
    ] {
        let client = house.register(CALLBACK).await;
        let challenge = TestHouse::challenge(&client);
        let mut params = without(TestHouse::authorization(&client, &challenge), "scope");
        params.push(("scope", asked));
        let mut browser = house.browser();
        let page = browser.get(&TestHouse::authorize_url(&params)).await;
        let form = [("ticket", &*page.input("ticket")), ("decision", "approve")];
        let approved = browser.post(&format!("{ORIGIN}/consent"), &form).await;
        let provider = approved.location_param("scope").unwrap();
        assert_eq!(
            provider, "openid email profile",
            "the provider's own scopes only"
        );
        let back = browser
            .sign_in_at_provider(approved.location(), "ada", "lovelace")
            .await;
        let code = browser
            .get(back.location())
            .await
            .location_param("code")
            .unwrap();
        let tokens = Tokens::of(&house.redeem(&client, &code).await);
        let granted = if asked.contains("mcp:write") {
            "mcp:read mcp:write"
        } else {
            "mcp:read"
        };
        assert_eq!(tokens.scope, granted, "{asked:?}");
        assert!(
            !tokens.refresh.is_empty(),
            "{asked:?}: whether asked for or not"
        );
    }
}

/// Fetch standard: what a page in a browser needs to be a client. Cookies play no part.
#[tokio::test]
async fn a_client_in_a_web_page_may_register_redeem_and_revoke() {
    let house = TestHouse::new().await;
    let origin = ("origin", "https://inspector.example");
    for path in ["/register", "/token", "/revoke"] {
        let preflight = [
            origin,
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,mcp-protocol-version",
            ),
        ];
        let answer = house.request(Method::OPTIONS, path, &preflight, "").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_readable(&answer, path);
        let allowed = answer
            .header("access-control-allow-headers")
            .to_ascii_lowercase();
        for name in ["authorization", "content-type", "mcp-protocol-version"] {
            assert!(allowed.contains(name), "{path}: {name}");
        }
        // A refusal can be read as well.
        let refused = house.request(Method::POST, path, &[origin], "").await;
        assert!(refused.status.is_client_error(), "{path}");
        assert_readable(&refused, path);
    }
    let (client, tokens) = house.sign_in().await;
    let form = [
        ("token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_readable(&house.post_form("/revoke", &form).await, "/revoke");
    let registered = house
        .post_json("/register", &json!({ "redirect_uris": [CALLBACK] }))
        .await;
    assert_readable(&registered, "/register");
}

#[track_caller]
fn assert_readable(answer: &Answer, why: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{why}");
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        "",
        "{why}"
    );
    let exposed = answer.header("access-control-expose-headers");
    let preflight = answer.status == StatusCode::NO_CONTENT;
    assert!(preflight || exposed.contains("WWW-Authenticate"), "{why}");
}
