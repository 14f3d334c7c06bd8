//! The audit stream of a whole house: what a flow leaves there, and what never gets there.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use vestibule::arrival::PeerAddr;
use vestibule::settings::{AdminSettings, AuditSettings, AuditSink, Settings};
use vestibule_oauth::secret::Secret;
use vestibule_standin::cognito::CognitoOptions;

use crate::policy::set_rules;
use crate::support::{CALLBACK, Place, TestHouse, Tokens};

const RULES: &str = "
[[resource.rule]]
tools = [\"admin_*\"]
groups = [\"nobody\"]
";
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

/// A house whose stream is a file.
struct Audited {
    house: TestHouse,
    place: Place,
}

impl Audited {
    async fn new(name: &str, change: impl FnOnce(&mut Settings, &mut AuditSettings)) -> Self {
        let place = Place::new(&format!("audit-{name}"));
        let file = place.0.join("audit.log");
        let settings = |settings: &mut Settings| {
            let mut audit = AuditSettings::new(AuditSink::File(file));
            set_rules(settings, RULES);
            settings.admin = Some(AdminSettings {
                token: Secret::new("0123456789abcdef0123456789abcdef"),
                listen: AdminSettings::default_listen(),
            });
            change(settings, &mut audit);
            settings.audit = Some(audit);
        };
        let house = TestHouse::stored(CognitoOptions::default(), settings).await;
        house.house.audit().open().unwrap();
        Self { house, place }
    }

    async fn text(&self) -> String {
        self.house.house.audit().flush(SOON).await;
        self.place.read("audit.log")
    }

    async fn lines(&self) -> Vec<Value> {
        let text = self.text().await;
        let read = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(read).collect()
    }

    /// The types, in order.
    async fn types(&self) -> Vec<String> {
        let lines = self.lines().await;
        let kind = |line: &Value| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("type"), text("outcome"))
        };
        lines.iter().map(kind).collect()
    }

    async fn admin(&self, method: Method, path: &str, token: &str, body: &str) -> u16 {
        use tower::ServiceExt as _;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:8081")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("user-agent", "an operator's")
            .extension(PeerAddr(([127, 0, 0, 1], 40_000).into()))
            .body(axum::body::Body::from(body.to_owned()));
        let router = self.house.house.admin_router().unwrap();
        let answer = router.oneshot(request.unwrap()).await.unwrap();
        answer.status().as_u16()
    }
}

/// What is another one each time.
fn masked(mut line: Value) -> Value {
    for name in ["time", "audit_id", "grant", "token_id", "reference"] {
        if let Some(value) = line.get_mut(name) {
            assert!(value.is_string() && value != "", "{name}");
            *value = json!("…");
        }
    }
    for name in ["sub", "client_digest"] {
        let subject = line.get_mut("subject");
        if let Some(value) = subject.and_then(|subject| subject.get_mut(name)) {
            *value = json!("…");
        }
    }
    line
}

/// Members by name: some builds keep them in the order in which they were written.
fn ordered(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> = members
                .into_iter()
                .map(|(name, value)| (name, ordered(value)))
                .collect();
            json!(members)
        }
        other => other,
    }
}

const ADMIN: &str = "0123456789abcdef0123456789abcdef";

/// A whole life: the sign-in, calls, refreshes, a theft, an operator.
async fn live(audited: &Audited) -> Vec<String> {
    let house = &audited.house;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let to_provider = approved.location().to_owned();
    let back = browser
        .sign_in_at_provider(&to_provider, "ada", "lovelace")
        .await;
    let back = back.location().to_owned();
    let answer = browser.get(&back).await;
    let code = answer.location_param("code").unwrap();
    let redeemed = house
        .post_form("/token", &TestHouse::redemption(&client, &code))
        .await;
    let first = Tokens::of(&redeemed);
    house.whoami(&first.access).await;
    house
        .tool_at("/mcp", &first.access, &[], "admin_wipe")
        .await;
    house.get("/mcp").await;
    house.call("vat_forged", &json!({})).await;
    house.clock.advance(first.expires_in);
    let second = Tokens::of(&house.refresh(&client, &first.refresh).await);
    house.clock.advance(61);
    let third = Tokens::of(&house.refresh(&client, &second.refresh).await);
    house.clock.advance(61);
    house.refresh(&client, &first.refresh).await;
    let ada = "/admin/quarantine/users/ada";
    let why = json!({ "reason": "ticket 4711" }).to_string();
    assert_eq!(audited.admin(Method::PUT, ada, ADMIN, &why).await, 200);
    assert_eq!(audited.admin(Method::DELETE, ada, ADMIN, "").await, 200);
    let all = "/admin/grants?all=true";
    assert_eq!(audited.admin(Method::DELETE, all, ADMIN, "").await, 200);
    assert_eq!(audited.admin(Method::DELETE, all, "wrong", "").await, 401);
    let mut secrets: Vec<String> = [first, second, third]
        .into_iter()
        .flat_map(|tokens| [tokens.access, tokens.refresh])
        .collect();
    let query = |url: &str, name: &str| {
        let url = url::Url::parse(url).unwrap();
        let value = url.query_pairs().find(|(own, _)| own == name);
        value.unwrap().1.into_owned()
    };
    secrets.extend([code, client.verifier, client.id, ADMIN.to_owned()]);
    secrets.extend([query(&back, "code"), query(&back, "state")]);
    secrets.extend([query(&to_provider, "nonce"), "client state".to_owned()]);
    secrets
}

#[tokio::test]
async fn a_whole_life_is_told_with_who_and_how_it_ended() {
    let audited = Audited::new("life", |_, _| {}).await;
    live(&audited).await;
    let lines = audited.lines().await;
    let shown: Vec<String> = lines
        .into_iter()
        .map(|line| ordered(masked(line)).to_string())
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn what_an_operator_ends_is_told_with_where_the_operator_was() {
    let audited = Audited::new("operator", |_, _| {}).await;
    audited.house.sign_in().await;
    let all = "/admin/grants?all=true";
    assert_eq!(audited.admin(Method::DELETE, all, ADMIN, "").await, 200);
    let lines = audited.lines().await;
    let [.., revoked, told] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(
        (&revoked["type"], &revoked["reason"]),
        (&json!("token.revoked"), &json!("operator"))
    );
    assert_eq!(told["type"], "admin.grants_revoked");
    let source = json!({ "ip": "127.0.0.1", "user_agent": "an operator's" });
    assert_eq!((&revoked["source"], &told["source"]), (&source, &source));
}

#[tokio::test]
async fn no_line_holds_a_token_a_code_a_state_or_a_cookie() {
    let audited = Audited::new("secrets", |_, audit| audit.every_call = true).await;
    let secrets = live(&audited).await;
    assert!(secrets.len() > 12);
    let text = audited.text().await;
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret}");
    }
    for prefix in [
        "vcl_", "vct_", "vfl_", "vac_", "vrs_", "vrt_", "vat_", "Bearer", "eyJ", "__Host",
    ] {
        assert!(!text.contains(prefix), "{prefix} in\n{text}");
    }
}

#[tokio::test]
async fn with_a_key_nobody_is_named() {
    let audited = Audited::new("hashed", |_, audit| {
        audit.subject_key = Some(Secret::new("an-audit-key-of-thirty-two-bytes"));
        audit.every_call = true;
    })
    .await;
    let (_, tokens) = audited.house.sign_in().await;
    let ada = audited.house.whoami(&tokens.access).await["subject"].clone();
    let text = audited.text().await;
    assert!(!text.contains(ada.as_str().unwrap()), "{text}");
    let hashes: Vec<Value> = audited
        .lines()
        .await
        .into_iter()
        .map(|line| line["subject"]["sub_hash"].clone())
        .filter(Value::is_string)
        .collect();
    assert!(
        hashes.len() >= 2 && hashes.iter().all(|hash| *hash == hashes[0]),
        "{hashes:?}"
    );
}

#[tokio::test]
async fn calls_that_were_let_through_are_told_when_somebody_wants_them() {
    let audited = Audited::new("calls", |_, audit| audit.every_call = true).await;
    let (_, tokens) = audited.house.sign_in().await;
    audited.house.whoami(&tokens.access).await;
    let lines = audited.lines().await;
    let last = lines.last().unwrap();
    assert_eq!(last["type"], "mcp.call.allowed");
    assert_eq!(
        last["target"],
        json!({ "resource": "/mcp", "method": "tools/call" })
    );
}

/// The name of a client and what it calls are a stranger's words.
#[tokio::test]
async fn a_client_cannot_forge_a_line_with_its_name_or_a_tool() {
    let audited = Audited::new("forged", |_, _| {}).await;
    let forged = "Nice\"}\n{\"type\":\"token.issued\",\"outcome\":\"success\"}\u{2028}\u{202e}x";
    let body = json!({ "client_name": forged, "redirect_uris": [CALLBACK] });
    audited.house.post_json("/register", &body).await;
    let (_, tokens) = audited.house.sign_in().await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": format!("admin_{forged}"), "arguments": {} } });
    audited.house.call(&tokens.access, &call).await;
    let agent = [
        ("user-agent", "evil\tagent"),
        ("content-type", "application/json"),
    ];
    let nothing = "{}";
    audited
        .house
        .request(Method::POST, "/register", &agent, nothing)
        .await;
    let types = audited.types().await;
    let issued = types.iter().filter(|kind| kind.starts_with("token.issued"));
    assert_eq!(issued.count(), 1, "{types:?}");
    let text = audited.text().await;
    assert!(
        !text.contains(['\u{2028}', '\u{202e}', '\t', '\r']),
        "{text}"
    );
    assert!(
        types.contains(&"mcp.call.denied failure".to_owned()),
        "{types:?}"
    );
}

/// The reference on the page, in the answer and in the log is the one in the line.
#[tokio::test]
async fn a_refusal_has_the_reference_that_its_sender_was_shown() {
    let audited = Audited::new("reference", |_, _| {}).await;
    let (client, _) = audited.house.sign_in().await;
    let page = audited
        .house
        .get("/authorize?client_id=nobody")
        .await
        .text();
    let refused = audited.house.refresh(&client, "vrs_x").await.json();
    let lines = audited.lines().await;
    let reference = |kind: &str| {
        let line = lines.iter().find(|line| line["type"] == kind).unwrap();
        assert_eq!(line["outcome"], "failure");
        line["reference"].as_str().unwrap().to_owned()
    };
    assert!(page.contains(&reference("authorize.refused")));
    assert_eq!(refused["reference"], reference("token.refused"));
}

#[tokio::test]
async fn a_denial_and_a_revocation_are_told() {
    let audited = Audited::new("denied", |_, _| {}).await;
    let house = &audited.house;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let challenge = TestHouse::challenge(&client);
    let asked = TestHouse::authorization(&client, &challenge);
    let page = browser.get(&TestHouse::authorize_url(&asked)).await;
    let ticket = page.input("ticket");
    let form = [("ticket", ticket.as_str()), ("decision", "deny")];
    browser
        .post("https://mcp.example.test/consent", &form)
        .await;
    let (client, tokens) = house.sign_in().await;
    for token in [&tokens.access, &tokens.refresh] {
        let form = [("token", token.as_str()), ("client_id", &client.id)];
        house.post_form("/revoke", &form).await;
    }
    let types = audited.types().await;
    for wanted in ["authorize.denied failure", "token.revoked success"] {
        assert!(types.contains(&wanted.to_owned()), "{wanted}: {types:?}");
    }
    let revoked = audited.lines().await;
    let revoked = revoked
        .iter()
        .filter(|line| line["type"] == "token.revoked");
    let whats: Vec<_> = revoked
        .map(|line| (line["reason"].clone(), line["grant"].is_string()))
        .collect();
    assert_eq!(whats, [(json!("client"), false), (json!("client"), true)]);
}

#[tokio::test]
async fn a_reload_goes_on_in_the_same_file_and_one_that_goes_elsewhere_waits_to_be_opened() {
    let mut audited = Audited::new("reload", |_, _| {}).await;
    audited
        .house
        .reload(|settings, _| settings.pages.landing = false);
    audited.house.register(CALLBACK).await;
    assert_eq!(audited.types().await, ["client.registered success"]);
    let elsewhere = audited.place.0.join("elsewhere.log");
    let to = AuditSink::File(elsewhere.clone());
    audited
        .house
        .reload(|settings, _| settings.audit = Some(AuditSettings::new(to)));
    audited.house.register(CALLBACK).await;
    assert!(!elsewhere.exists());
    audited.house.house.audit().open().unwrap();
    audited.house.register(CALLBACK).await;
    audited.house.house.audit().flush(SOON).await;
    assert_eq!(audited.place.read("elsewhere.log").lines().count(), 1);
    assert_eq!(audited.place.read("audit.log").lines().count(), 1);
}

/// Nobody who works with a house before it serves leaves a file behind.
#[tokio::test]
async fn a_house_that_is_only_looked_at_writes_nothing() {
    let place = Place::new("audit-unopened");
    let file = place.0.join("audit.log");
    let to = AuditSink::File(file.clone());
    let house = TestHouse::with(|settings| settings.audit = Some(AuditSettings::new(to))).await;
    house.sign_in().await;
    assert!(!file.exists());
}
