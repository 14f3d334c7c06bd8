//! What people see beside the consent page: the landing page, help at a resource, refusals in two forms and languages, and
//! answers that do not travel by redirect.

use http::{Method, StatusCode};

use crate::support::{Answer, CALLBACK, Client, MCP, ORIGIN, TestHouse};

/// What Chromium sends.
const BROWSER: (&str, &str) = (
    "accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
);
const JAPANESE: (&str, &str) = ("accept-language", "ja-JP,ja;q=0.9,en;q=0.8");

fn assert_html(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!answer.text().contains("<script"));
}

#[tokio::test]
async fn the_landing_page_names_every_resource_and_how_to_add_it() {
    let house = TestHouse::with(|settings| {
        let mut other = settings.resources[0].clone();
        other.path = "/other".to_owned();
        other.uri = vestibule_oauth::url::ResourceUri::parse(&format!("{ORIGIN}/other")).unwrap();
        other.name = Some("Other <b>".to_owned());
        other.documentation = Some("https://docs.example/other".to_owned());
        settings.resources.push(other);
    })
    .await;
    let answer = house.request(Method::GET, "/", &[BROWSER], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_html(&answer);
    let html = answer.text();
    for expected in [
        MCP,
        "https://mcp.example.test/other",
        "claude mcp add --transport http demo https://mcp.example.test/mcp",
        "codex mcp add other-b --url https://mcp.example.test/other",
        "href=\"vscode:mcp/install?%7B%22name%22",
        "href=\"cursor://anysphere.cursor-deeplink/mcp/install?name=demo&#38;config=",
        "gemini mcp add --transport http demo",
        "npx -y mcp-remote",
        "href=\"https://docs.example/other\"",
        "Other &#60;b&#62;",
    ] {
        assert!(html.contains(expected), "{expected}: {html}");
    }
}

#[tokio::test]
async fn a_client_that_takes_the_origin_for_the_endpoint_finds_nothing_there() {
    let house = TestHouse::new().await;
    let json = ("accept", "application/json, text/event-stream");
    for (method, headers) in [
        (Method::GET, vec![]),
        (Method::GET, vec![("accept", "*/*")]),
        (Method::GET, vec![("accept", "text/event-stream")]),
        (Method::GET, vec![json]),
        (Method::POST, vec![json]),
        (Method::POST, vec![BROWSER]),
        (Method::GET, vec![BROWSER, ("authorization", "Bearer x")]),
    ] {
        let answer = house.request(method, "/", &headers, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{headers:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.error(), "not_found");
    }
}

#[tokio::test]
async fn a_browser_at_a_resource_gets_help_and_the_same_challenge() {
    let house = TestHouse::new().await;
    for path in ["/mcp", "/mcp/deeper?x=1"] {
        let program = house.get(path).await;
        let person = house.request(Method::GET, path, &[BROWSER], "").await;
        assert_eq!(program.status, StatusCode::UNAUTHORIZED);
        assert_eq!(program.header("content-type"), "application/json");
        assert_eq!(person.status, StatusCode::UNAUTHORIZED);
        assert_html(&person);
        for header in ["www-authenticate", "x-mcp-challenge"] {
            assert!(!program.header(header).is_empty());
            assert_eq!(person.header(header), program.header(header));
        }
        let html = person.text();
        assert!(
            html.contains("not for browsers") && html.contains(MCP),
            "{html}"
        );
    }
    // Nobody else is told apart.
    for (method, headers) in [
        (Method::POST, vec![BROWSER]),
        (Method::DELETE, vec![BROWSER]),
        (Method::GET, vec![("accept", "text/event-stream")]),
        (
            Method::GET,
            vec![("accept", "text/html, text/event-stream")],
        ),
        (Method::GET, vec![BROWSER, ("authorization", "Bearer x")]),
    ] {
        let answer = house.request(method, "/mcp", &headers, "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(answer.header("www-authenticate").starts_with("Bearer "));
    }
    // Well-known paths below a resource stay JSON, for browsers too.
    let path = "/mcp/.well-known/oauth-protected-resource";
    let answer = house.request(Method::GET, path, &[BROWSER], "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_refusal_has_a_twin_for_programs() {
    let house = TestHouse::new().await;
    let path = "/authorize?client_id=unknown";
    let page = house.request(Method::GET, path, &[BROWSER], "").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert_html(&page);
    assert!(page.text().contains("Reference: <code>"));
    let accept = [("accept", "application/json")];
    let twin = house.request(Method::GET, path, &accept, "").await;
    assert_eq!(twin.status, StatusCode::BAD_REQUEST);
    assert_eq!(twin.header("content-type"), "application/json");
    assert_eq!(twin.header("cache-control"), "no-store");
    assert_eq!(twin.error(), "client_unknown");
    let body = twin.json();
    for member in ["error_description", "reference", "next_step"] {
        assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
    }
    assert_eq!(body["reference"].as_str().unwrap().len(), 13);
}

#[tokio::test]
async fn a_reader_of_japanese_gets_japanese() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let consent = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    for (path, status, word) in [
        ("/", StatusCode::OK, "ターミナル"),
        (
            "/mcp",
            StatusCode::UNAUTHORIZED,
            "MCP サーバーのアドレスです",
        ),
        (
            consent.strip_prefix(ORIGIN).unwrap(),
            StatusCode::OK,
            "許可する</button>",
        ),
        (
            "/authorize?client_id=unknown",
            StatusCode::BAD_REQUEST,
            "お問い合わせ番号 Reference",
        ),
        (
            "/callback",
            StatusCode::BAD_REQUEST,
            "サインインの結果を読み取れません",
        ),
    ] {
        let answer = house
            .request(Method::GET, path, &[BROWSER, JAPANESE], "")
            .await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains("<html lang=\"ja\">"), "{path}");
        assert!(answer.text().contains(word), "{path}: {}", answer.text());
        let english = house.request(Method::GET, path, &[BROWSER], "").await;
        assert!(english.text().contains("<html lang=\"en\">"), "{path}");
    }
}

/// Consent with these form fields, sign-in at the provider, callback.
async fn sign_in(house: &TestHouse, client: &Client, fields: &[(&str, &str)]) -> Answer {
    let mut browser = house.browser();
    let challenge = TestHouse::challenge(client);
    let params = TestHouse::authorization(client, &challenge);
    let page = browser.get(&TestHouse::authorize_url(&params)).await;
    let ticket = page.input("ticket");
    let mut form = vec![("ticket", ticket.as_str())];
    form.extend(fields);
    let approved = browser.post(&format!("{ORIGIN}/consent"), &form).await;
    if !approved.status.is_redirection() {
        return approved;
    }
    let back = browser
        .sign_in_at_provider(approved.location(), "ada", "lovelace")
        .await;
    browser.get(back.location()).await
}

#[tokio::test]
async fn an_application_with_its_own_scheme_is_opened_from_a_page() {
    let house = TestHouse::new().await;
    let client = house
        .register("cursor://anysphere.cursor-mcp/oauth/callback")
        .await;
    let answer = sign_in(&house, &client, &[("decision", "approve")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_html(&answer);
    let html = answer.text();
    let location = html.split("content=\"0;url=").nth(1).unwrap();
    let location = location.split('"').next().unwrap().replace("&#38;", "&");
    assert!(html.contains("href=\"cursor://anysphere.cursor-mcp/oauth/callback?code="));
    assert!(html.contains("close this window"));
    // The code in the page is the code: it is redeemed as any other.
    let url = url::Url::parse(&location).unwrap();
    let (_, code) = url.query_pairs().find(|(name, _)| name == "code").unwrap();
    assert!(url.query().unwrap().contains("iss=https"));
    let tokens = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
}

#[tokio::test]
async fn an_answer_for_another_computer_is_shown_and_never_redirected() {
    let house = TestHouse::new().await;
    let client = house.register(CALLBACK).await;
    let here = sign_in(&house, &client, &[("decision", "approve")]).await;
    assert_eq!(here.status, StatusCode::FOUND);
    for (decision, parameter) in [("approve", "code="), ("deny", "error=access_denied")] {
        let fields = [("decision", decision), ("elsewhere", "yes")];
        let answer = sign_in(&house, &client, &fields).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_html(&answer);
        let html = answer.text();
        assert!(
            html.contains(&format!("curl &#34;{CALLBACK}?{parameter}")),
            "{html}"
        );
        assert!(html.contains("give it to nobody"));
        assert!(!html.contains("http-equiv=\"refresh\"") && !html.contains("href="));
    }
}

#[tokio::test]
async fn an_operator_can_take_the_box_for_another_computer_away() {
    let house = TestHouse::with(|settings| settings.pages.other_computer = false).await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    let page = house.browser().get(&url).await;
    assert!(!page.text().contains("elsewhere"), "{}", page.text());
    // A form that has it all the same changes nothing.
    let fields = [("decision", "approve"), ("elsewhere", "yes")];
    let answer = sign_in(&house, &client, &fields).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert!(answer.location().starts_with(&format!("{CALLBACK}?code=")));
}

#[tokio::test]
async fn an_operator_can_take_the_instructions_away() {
    let house = TestHouse::with(|settings| settings.pages.landing = false).await;
    let landing = house.request(Method::GET, "/", &[BROWSER], "").await;
    assert_eq!(landing.status, StatusCode::NOT_FOUND);
    assert_eq!(landing.header("content-type"), "application/json");
    let person = house.request(Method::GET, "/mcp", &[BROWSER], "").await;
    assert_eq!(person.status, StatusCode::UNAUTHORIZED);
    assert_eq!(person.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_website_cannot_have_its_answer_shown_instead_of_sent() {
    // The box is not offered there; a form that has it all the same changes nothing.
    let house = TestHouse::new().await;
    let client = house.register("https://app.example/cb").await;
    let fields = [("decision", "approve"), ("elsewhere", "yes")];
    let answer = sign_in(&house, &client, &fields).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert!(
        answer
            .location()
            .starts_with("https://app.example/cb?code=")
    );
}
