//! Remembered consent (T9): it saves one user a page, in one browser, for one request, and nobody anything else.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::{ClientCredential, PreRegistered, Settings};
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::secret::ClientSecret;
use vestibule_oauth::url::{PrivateUseSchemes, RedirectUri};
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use super::{CONSENT, STATE, page};
use crate::support::{Answer, Browser, Client, ORIGIN, TestHouse, replace};

const DAY: u64 = 24 * 3600;
const SECRET: &str = "the-secret-of-the-portal";
const PORTAL: &str = "https://portal.example.test/cb";
const OTHER: &str = "https://portal.example.test/other";
const COOKIE: &str = "__Host-vestibule-memory";
const HOST: &str = "mcp.example.test";
const READ: &str = "mcp:read";
const BOTH: &str = "mcp:read mcp:write";
const ADA: (&str, &str) = ("ada", "lovelace");
const BOB: (&str, &str) = ("bob", "builder");

/// What a browser says when a page of our site opens a window.
const OURS: [(&str, &str); 3] = [
    ("sec-fetch-site", "same-site"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];
const STRANGERS: [(&str, &str); 3] = [("sec-fetch-site", "cross-site"), OURS[1], OURS[2]];

fn remember(settings: &mut Settings) {
    settings.consent.remember = Some(Duration::from_secs(30 * DAY));
    let schemes = PrivateUseSchemes::default();
    let uris = [PORTAL, OTHER, "http://localhost/cb"];
    let uris = uris.map(|uri| RedirectUri::parse(uri, &schemes).unwrap());
    settings.clients.preregistered.push(PreRegistered {
        credential: ClientCredential::Secret(ClientSecret::new(SECRET)),
        ..PreRegistered::public("portal", "The portal", uris.to_vec())
    });
}

async fn house() -> TestHouse {
    TestHouse::with(remember).await
}

fn client(id: &str, redirect_uri: &str) -> Client {
    Client {
        id: id.to_owned(),
        redirect_uri: redirect_uri.to_owned(),
        verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
    }
}

fn portal() -> Client {
    client("portal", PORTAL)
}

async fn ask_with(
    browser: &mut Browser,
    client: &Client,
    scope: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let challenge = TestHouse::challenge(client);
    let params = TestHouse::authorization(client, &challenge);
    let url = TestHouse::authorize_url(&replace(params, "scope", scope));
    browser.send(Method::GET, &url, headers, None).await
}

async fn ask(browser: &mut Browser, client: &Client, scope: &str) -> Answer {
    ask_with(browser, client, scope, &OURS).await
}

async fn approve_for_good(browser: &mut Browser, page: &Answer) -> Answer {
    let ticket = page.input("ticket");
    let form = [
        ("ticket", ticket.as_str()),
        ("decision", "approve"),
        ("remember", "yes"),
    ];
    browser.post(CONSENT, &form).await
}

/// At the provider and back: the answer of `/callback`.
async fn sign_in(browser: &mut Browser, location: &str, user: (&str, &str)) -> Answer {
    let back = browser.sign_in_at_provider(location, user.0, user.1).await;
    browser.get(back.location()).await
}

/// The user approves, ticks the box and signs in, twice past the provider: the answer that the client gets.
async fn remember_this(
    browser: &mut Browser,
    client: &Client,
    scope: &str,
    user: (&str, &str),
) -> Answer {
    let page = ask(browser, client, scope).await;
    offers(&page, true);
    let approved = approve_for_good(browser, &page).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER);
    let again = sign_in(browser, approved.location(), user).await;
    assert_eq!(again.location_param("code"), None, "no code of the first");
    let answer = sign_in(browser, again.location(), user).await;
    assert!(answer.location_param("code").is_some());
    answer
}

async fn redeem(house: &TestHouse, client: &Client, answer: &Answer) -> Answer {
    let code = answer.location_param("code").expect("a code");
    let mut form = TestHouse::redemption(client, &code);
    form.push(("client_secret", SECRET));
    house.post_form("/token", &form).await
}

/// The page is shown, with or without the box.
#[track_caller]
fn offers(answer: &Answer, remembering: bool) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let html = answer.text();
    assert!(html.contains("name=\"ticket\""), "{html}");
    assert_eq!(html.contains("name=\"remember\""), remembering, "{html}");
    assert!(!html.contains(" checked>"), "{html}");
}

#[track_caller]
fn skips(house: &TestHouse, answer: &Answer) {
    assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text());
    assert!(answer.location().starts_with(house.cognito.domain()));
}

/// Signed out at the provider, and only there.
fn leave_provider(browser: &mut Browser) {
    browser.jars.retain(|host, _| host == HOST);
}

fn memory(browser: &Browser) -> Option<&String> {
    browser.jars.get(HOST).and_then(|jar| jar.get(COOKIE))
}

#[tokio::test]
async fn what_was_approved_is_not_asked_again() {
    let house = house().await;
    let mut browser = house.browser();
    let portal = portal();
    let first = remember_this(&mut browser, &portal, BOTH, ADA).await;
    let cookie = first.set_cookies().join("\n");
    assert!(!cookie.contains(COOKIE), "set when the user was learned");
    let tokens = redeem(&house, &portal, &first).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());

    // The same or less, and the client's own state and challenge as ever.
    for scope in [BOTH, READ] {
        let skipped = ask(&mut browser, &portal, scope).await;
        skips(&house, &skipped);
        assert!(skipped.set_cookies().iter().all(|set| {
            ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/"]
                .iter()
                .all(|attribute| set.contains(attribute))
        }));
        let answer = sign_in(&mut browser, skipped.location(), ADA).await;
        assert!(answer.location().starts_with(PORTAL));
        assert_eq!(answer.location_param("state").as_deref(), Some(STATE));
        let tokens = redeem(&house, &portal, &answer).await;
        assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
        assert_eq!(tokens.json()["scope"], scope);
        // Who comes back at once is asked: something may have gone wrong.
        offers(&ask(&mut browser, &portal, scope).await, true);
        house.clock.advance(600);
    }
    // Another resource, redirect URI, or client has not been approved.
    offers(
        &ask(&mut browser, &client("portal", OTHER), READ).await,
        true,
    );
}

#[tokio::test]
async fn nothing_is_remembered_unless_operator_and_user_want_it() {
    let house = house().await;
    let mut browser = house.browser();
    let page = ask(&mut browser, &portal(), READ).await;
    offers(&page, true);
    let approved = super::decide(&mut browser, &page, "approve").await;
    let answer = sign_in(&mut browser, approved.location(), ADA).await;
    assert!(answer.location_param("code").is_some());
    assert_eq!(memory(&browser), None);
    offers(&ask(&mut browser, &portal(), READ).await, true);

    let house = TestHouse::with(|settings| {
        remember(settings);
        settings.consent.remember = None;
    })
    .await;
    let mut browser = house.browser();
    let page = ask(&mut browser, &portal(), READ).await;
    offers(&page, false);
    // A form that says so all the same.
    let approved = approve_for_good(&mut browser, &page).await;
    let answer = sign_in(&mut browser, approved.location(), ADA).await;
    assert!(answer.location_param("code").is_some());
    assert_eq!(memory(&browser), None);
}

#[tokio::test]
async fn t9_another_account_at_the_provider_does_not_inherit_a_consent() {
    let house = house().await;
    let mut browser = house.browser();
    let portal = portal();
    remember_this(&mut browser, &portal, READ, ADA).await;
    leave_provider(&mut browser);
    let skipped = ask(&mut browser, &portal, READ).await;
    skips(&house, &skipped);
    let answer = sign_in(&mut browser, skipped.location(), BOB).await;
    let refused = redeem(&house, &portal, &answer).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.error(), "invalid_grant");
    assert!(refused.text().contains("another account"));
    // Bob is not locked out: the next time he is asked, and approves for himself.
    let page = ask(&mut browser, &portal, READ).await;
    offers(&page, true);
    let approved = super::decide(&mut browser, &page, "approve").await;
    let answer = sign_in(&mut browser, approved.location(), BOB).await;
    let tokens = redeem(&house, &portal, &answer).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
}

#[tokio::test]
async fn t9_a_consent_that_one_account_gave_is_not_finished_by_another() {
    let house = house().await;
    let portal = portal();
    let mut browser = house.browser();
    let page = ask(&mut browser, &portal, READ).await;
    let approved = approve_for_good(&mut browser, &page).await;
    let again = sign_in(&mut browser, approved.location(), ADA).await;
    leave_provider(&mut browser);
    let answer = sign_in(&mut browser, again.location(), BOB).await;
    let refused = redeem(&house, &portal, &answer).await;
    assert_eq!(refused.error(), "invalid_grant");
    assert!(refused.text().contains("another account"));
}

#[tokio::test]
async fn t9_a_stolen_memory_needs_its_users_account_as_well() {
    let house = house().await;
    let mut victim = house.browser();
    let portal = portal();
    remember_this(&mut victim, &portal, READ, ADA).await;
    let stolen = memory(&victim).unwrap().clone();
    let mut thief = house.browser();
    let jar = thief.jars.entry(HOST.to_owned()).or_default();
    jar.insert(COOKIE.to_owned(), stolen);
    let skipped = ask(&mut thief, &portal, READ).await;
    skips(&house, &skipped);
    let answer = sign_in(&mut thief, skipped.location(), BOB).await;
    let refused = redeem(&house, &portal, &answer).await;
    assert_eq!(refused.error(), "invalid_grant");
}

#[tokio::test]
async fn t9_no_other_cookie_passes_for_a_memory() {
    let house = house().await;
    let elsewhere = self::house().await;
    let mut there = elsewhere.browser();
    remember_this(&mut there, &portal(), READ, ADA).await;
    let mut browser = house.browser();
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let own = memory(&browser).unwrap().clone();
    assert!(own.starts_with("vmc_"));
    let mut changed = own.clone().into_bytes();
    changed[60] ^= 1;
    let (registered, _) = house.sign_in().await;
    for value in [
        memory(&there).unwrap().clone(),
        String::from_utf8(changed).unwrap(),
        registered.id.replace("vcl_", "vmc_"),
        own.replace("vmc_", "vfl_"),
        "vmc_".to_owned(),
    ] {
        let mut other = house.browser();
        let jar = other.jars.entry(HOST.to_owned()).or_default();
        jar.insert(COOKIE.to_owned(), value);
        offers(&ask(&mut other, &portal(), READ).await, true);
    }
    // What a page of a neighbouring host can set.
    let mut other = house.browser();
    let jar = other.jars.entry(HOST.to_owned()).or_default();
    jar.insert("vestibule-memory".to_owned(), own);
    offers(&ask(&mut other, &portal(), READ).await, true);
}

#[tokio::test]
async fn t9_a_client_that_changed_is_a_client_that_was_not_approved() {
    let mut house = house().await;
    let mut browser = house.browser();
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let unchanged = house.router.clone();
    let portal_settings = house.settings.clients.preregistered.last_mut().unwrap();
    let more = RedirectUri::parse("https://evil.example/cb", &PrivateUseSchemes::default());
    portal_settings.redirect_uris.push(more.unwrap());
    house.router = house.replica(2);
    let mut same = house.browser();
    same.jars.clone_from(&browser.jars);
    offers(&ask(&mut same, &portal(), READ).await, true);
    house.router = unchanged;
    skips(&house, &ask(&mut browser, &portal(), READ).await);
}

#[tokio::test]
async fn t9_a_wider_scope_is_asked_for_and_marked() {
    let house = house().await;
    let mut browser = house.browser();
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let page = ask(&mut browser, &portal(), BOTH).await;
    offers(&page, true);
    let html = page.text();
    assert!(html.contains("<li><code>mcp:read</code></li>"), "{html}");
    assert!(
        html.contains("<li><code>mcp:write</code> <strong>New</strong></li>"),
        "{html}"
    );
}

#[tokio::test]
async fn t9_a_way_here_that_another_site_may_have_bent_shows_the_page() {
    // GHSA-6x8h-498w-gv8c. `none` as well: browsers keep it after a redirect from anywhere.
    let house = house().await;
    let mut browser = house.browser();
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let [site, mode, dest] = OURS;
    for headers in [
        vec![],
        vec![("sec-fetch-site", "cross-site"), mode, dest],
        vec![("sec-fetch-site", "none"), mode, dest],
        vec![("sec-fetch-site", "same-site, cross-site"), mode, dest],
        vec![mode, dest],
        vec![site, dest],
        vec![site, mode],
        vec![site, mode, ("sec-fetch-dest", "iframe")],
        vec![site, ("sec-fetch-mode", "no-cors"), dest],
        vec![site, mode, dest, ("sec-purpose", "prefetch;prerender")],
        vec![site, mode, dest, ("purpose", "prefetch")],
    ] {
        let page = ask_with(&mut browser, &portal(), READ, &headers).await;
        offers(&page, false);
        page.assert_page(StatusCode::OK, "Allow The portal?");
        assert!(page.set_cookies().is_empty(), "{headers:?}");
    }
    skips(&house, &ask(&mut browser, &portal(), READ).await);
}

#[tokio::test]
async fn t9_a_client_that_proves_nothing_at_token_is_always_asked_about() {
    // Whoever comes between such a client and us can redeem its code.
    let house = house().await;
    let website = client("desk", "https://desk.example/cb");
    let registered = house.register("https://app.example/cb").await;
    for client in [&website, &registered] {
        let mut browser = house.browser();
        let page = ask(&mut browser, client, READ).await;
        offers(&page, false);
        let approved = approve_for_good(&mut browser, &page).await;
        let answer = sign_in(&mut browser, approved.location(), ADA).await;
        assert!(answer.location_param("code").is_some());
        assert_eq!(memory(&browser), None);
    }
}

#[tokio::test]
async fn t9_a_program_on_this_computer_is_always_asked_about() {
    let house = TestHouse::with(|settings| {
        remember(settings);
        settings.consent.from_anywhere = vec!["portal".to_owned()];
    })
    .await;
    let mut browser = house.browser();
    let local = client("portal", "http://localhost:4711/cb");
    let page = ask(&mut browser, &local, READ).await;
    offers(&page, false);
    let approved = approve_for_good(&mut browser, &page).await;
    let answer = sign_in(&mut browser, approved.location(), ADA).await;
    assert!(
        answer
            .location()
            .starts_with("http://localhost:4711/cb?code=")
    );
    assert_eq!(memory(&browser), None);
    // An application with its own scheme neither.
    let (_, page) = page_of_an_application(&house).await;
    offers(&page, false);
}

async fn page_of_an_application(house: &TestHouse) -> (Client, Answer) {
    let mut browser = house.browser();
    page(
        house,
        &mut browser,
        "cursor://anysphere.cursor-mcp/oauth/callback",
    )
    .await
}

#[tokio::test]
async fn the_operator_can_say_that_any_way_leads_here() {
    let house = TestHouse::with(|settings| {
        remember(settings);
        settings.consent.from_anywhere = vec!["desk".to_owned()];
    })
    .await;
    let desk = client("desk", "https://desk.example/cb");
    let mut browser = house.browser();
    let page = ask_with(&mut browser, &desk, READ, &STRANGERS).await;
    offers(&page, true);
    let approved = approve_for_good(&mut browser, &page).await;
    let again = sign_in(&mut browser, approved.location(), ADA).await;
    let answer = sign_in(&mut browser, again.location(), ADA).await;
    let tokens = redeem(&house, &desk, &answer).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
    skips(
        &house,
        &ask_with(&mut browser, &desk, READ, &STRANGERS).await,
    );
    // Others are not meant, and a program without a window is no browser.
    house.clock.advance(600);
    offers(
        &ask_with(&mut browser, &portal(), READ, &STRANGERS).await,
        false,
    );
    offers(&ask_with(&mut browser, &desk, READ, &[]).await, false);
}

#[tokio::test]
async fn a_client_that_wants_the_page_gets_it() {
    let house = house().await;
    let mut browser = house.browser();
    let portal = portal();
    remember_this(&mut browser, &portal, READ, ADA).await;
    for prompt in ["consent", "login", "select_account", "none", ""] {
        let challenge = TestHouse::challenge(&portal);
        let mut params = replace(TestHouse::authorization(&portal, &challenge), "scope", READ);
        params.push(("prompt", prompt));
        let url = TestHouse::authorize_url(&params);
        offers(&browser.send(Method::GET, &url, &OURS, None).await, true);
    }
}

#[tokio::test]
async fn a_memory_ends_with_its_time_and_with_the_operators() {
    let mut house = house().await;
    let mut browser = house.browser();
    remember_this(&mut browser, &portal(), READ, ADA).await;
    house.clock.advance(7 * DAY);
    let mut shorter = house.settings.clone();
    shorter.consent.remember = Some(Duration::from_secs(7 * DAY));
    let router = house.router.clone();
    house.router = house.replica_with(&shorter, 3);
    let mut same = house.browser();
    same.jars.clone_from(&browser.jars);
    offers(&ask(&mut same, &portal(), READ).await, true);
    house.router = router;
    skips(&house, &ask(&mut browser, &portal(), READ).await);
    // Using it does not make it longer.
    house.clock.advance(23 * DAY);
    offers(&ask(&mut browser, &portal(), READ).await, true);
}

#[tokio::test]
async fn denying_and_signing_out_forget() {
    let mut options = CognitoOptions::default();
    options.clients[0].logout_urls = vec![format!("{ORIGIN}/logout/done")];
    let house = TestHouse::build(options, remember).await;
    let logout = format!("{ORIGIN}/logout");
    let forgetting = |browser: &Browser| memory(browser).is_none();

    let mut browser = house.browser();
    assert!(!browser.get(&logout).await.text().contains("forget"));
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let page = ask(&mut browser, &portal(), BOTH).await;
    super::decide(&mut browser, &page, "deny").await;
    assert!(forgetting(&browser));

    remember_this(&mut browser, &portal(), READ, ADA).await;
    assert!(
        browser
            .get(&logout)
            .await
            .text()
            .contains("name=\"forget\"")
    );
    let answer = browser.post(&logout, &[("forget", "yes")]).await;
    assert_eq!(answer.location(), logout);
    assert!(forgetting(&browser));

    remember_this(&mut browser, &portal(), READ, ADA).await;
    browser.post(&logout, &[("provider", "default")]).await;
    assert!(forgetting(&browser));

    remember_this(&mut browser, &portal(), READ, ADA).await;
    let headers = [("origin", "https://evil.example")];
    let form: &[(&str, &str)] = &[("forget", "yes")];
    let answer = browser
        .send(Method::POST, &logout, &headers, Some(form))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!forgetting(&browser));
}

#[tokio::test]
async fn the_memory_of_many_applications_stays_one_small_cookie() {
    let long = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .map(|letter| letter.repeat(60))
        .join(" ");
    let house = TestHouse::with(|settings| {
        remember(settings);
        settings.resources[0].scopes = ScopeSet::parse(&long);
    })
    .await;
    let mut browser = house.browser();
    let mut clients = Vec::new();
    for number in 0..9 {
        let redirect = format!("https://app{number}.example/cb");
        let answer = house
            .post_json(
                "/register",
                &json!({
                    "client_name": "Test",
                    "redirect_uris": [redirect],
                    "token_endpoint_auth_method": "client_secret_post",
                }),
            )
            .await;
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        clients.push(client(&id, &redirect));
        remember_this(&mut browser, clients.last().unwrap(), &long, ADA).await;
        assert!(memory(&browser).unwrap().len() <= 3000);
    }
    offers(&ask(&mut browser, &clients[0], &long).await, true);
    skips(&house, &ask(&mut browser, &clients[8], &long).await);
}

#[tokio::test]
async fn a_provider_that_fails_while_the_user_is_learned_leaves_no_memory() {
    let house = house().await;
    let mut browser = house.browser();
    let page = ask(&mut browser, &portal(), READ).await;
    let approved = approve_for_good(&mut browser, &page).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Token, Some(Fault::Status(503)), None);
    let answer = sign_in(&mut browser, approved.location(), ADA).await;
    answer.told(PORTAL, "temporarily_unavailable", Some(STATE));
    assert_eq!(memory(&browser), None);
    control.clear_faults();

    // And one that is away when the page is skipped: the memory stays.
    remember_this(&mut browser, &portal(), READ, ADA).await;
    let mut away = house.settings.clone();
    away.provider.issuer = vestibule_oauth::url::Issuer::parse("http://127.0.0.1:1/pool").unwrap();
    let mut other = Browser::new(ORIGIN, vec![house.replica_with(&away, 5)]);
    other.jars.clone_from(&browser.jars);
    let answer = ask(&mut other, &portal(), READ).await;
    answer.told(PORTAL, "temporarily_unavailable", Some(STATE));
    assert_eq!(memory(&other), memory(&browser));
}
