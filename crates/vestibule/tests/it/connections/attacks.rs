//! What an attacker tries at `/connections`.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule::settings::Settings;
use vestibule_oauth::pkce::CodeVerifier;
use vestibule_oauth::random::SystemRandom;
use vestibule_oauth::url::Origin;
use vestibule_standin::cognito::{CognitoOptions, Endpoint, Fault};

use super::rig::{
    ADA, BOB, HOST, PAGE, REVOKE, SESSION, SIGN_IN, connected, families, house, leave, open,
    sign_in, up_to_callback,
};
use crate::support::{Browser, CALLBACK, Client, ORIGIN, TestHouse};

const STOPPED: &str = "This was stopped for your safety";
const SIGNED_OUT: &str = "You are not signed in any more";
const NOT_SIGNED_IN: &str = "You are not signed in";

fn param(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let mut pairs = url.query_pairs().into_owned();
    pairs.find(|(own, _)| own == name).unwrap().1
}

fn session(browser: &Browser) -> Option<&String> {
    browser.jars.get(HOST)?.get(SESSION)
}

#[tokio::test]
async fn the_family_of_another_user_is_not_ended_and_answers_like_one_that_never_was() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let (_, _, family) = connected(&house).await;
    let mut browser = house.browser();
    let list = sign_in(&house, &mut browser, BOB).await;
    assert!(families(&list).is_empty());
    let ticket = list.input("ticket");
    let mut said = Vec::new();
    for grant in [family.as_str(), "never-was", ""] {
        let form = [("ticket", ticket.as_str()), ("grant", grant)];
        let answer = browser.post(REVOKE, &form).await;
        if grant.is_empty() {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            continue;
        }
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{grant}");
        let text = browser.get(PAGE).await.text();
        let notice = text.split("role=\"status\"").nth(1).unwrap();
        said.push(notice.split("</div>").next().unwrap().to_owned());
    }
    assert_eq!(said[0], said[1]);
    browser
        .post(REVOKE, &[("ticket", &ticket), ("all", "yes")])
        .await;
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn a_form_without_a_ticket_or_with_one_of_another_session_ends_nothing() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let (mut victim, good, family) = connected(&house).await;
    // The attacker has an account and sessions here as well, and another one of the victim's own is no better.
    let mut theirs = Vec::new();
    for user in [BOB, ADA] {
        let mut other = house.browser();
        theirs.push(sign_in(&house, &mut other, user).await.input("ticket"));
    }
    let before = house.browser().get(PAGE).await.input("ticket");
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let params = TestHouse::authorization(&client, &challenge);
    let consent = victim
        .get(&TestHouse::authorize_url(&params))
        .await
        .input("ticket");
    let renamed = consent.replace("vct_", "vft_");
    for (ticket, status) in [
        (theirs[0].as_str(), 403),
        (&theirs[1], 403),
        (&before, 403),
        (&consent, 403),
        (&renamed, 403),
        ("vft_", 403),
        ("x", 403),
    ] {
        for what in [("grant", family.as_str()), ("all", "yes")] {
            let answer = victim.post(REVOKE, &[("ticket", ticket), what]).await;
            assert_eq!(answer.status.as_u16(), status, "{ticket}");
            answer.assert_refusal_page(StatusCode::FORBIDDEN, STOPPED);
        }
    }
    let answer = victim.post(REVOKE, &[("all", "yes")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    house.whoami(&tokens.access).await;
    // The good one does.
    let form = [("ticket", good.as_str()), ("grant", family.as_str())];
    assert_eq!(
        victim.post(REVOKE, &form).await.status,
        StatusCode::SEE_OTHER
    );
    house.assert_shut(&tokens.access, "the good one").await;
}

#[tokio::test]
async fn another_site_can_send_none_of_the_forms() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let (mut browser, ticket, family) = connected(&house).await;
    let sign_in_ticket = house.browser().get(PAGE).await.input("ticket");
    let sign_out = format!("{PAGE}/sign-out");
    for headers in [
        [
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ],
        [("origin", ORIGIN), ("sec-fetch-site", "same-site")],
        [("origin", "null"), ("sec-fetch-site", "same-origin")],
    ] {
        for (url, form) in [
            (
                REVOKE,
                vec![("ticket", ticket.as_str()), ("grant", &family)],
            ),
            (REVOKE, vec![("ticket", &ticket), ("all", "yes")]),
            (&sign_out, vec![("ticket", &ticket)]),
            (
                SIGN_IN,
                vec![("ticket", &sign_in_ticket), ("provider", "default")],
            ),
        ] {
            let answer = browser.send(Method::POST, url, &headers, Some(&form)).await;
            answer.assert_refusal_page(StatusCode::FORBIDDEN, STOPPED);
            assert!(answer.set_cookies().is_empty());
        }
    }
    assert!(open(&mut browser).await);
    house.whoami(&tokens.access).await;
    // Nor does opening an address do anything.
    for url in [REVOKE, SIGN_IN, &sign_out] {
        assert_eq!(
            browser.get(url).await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}

#[tokio::test]
async fn a_form_of_another_browser_begins_no_sign_in_here() {
    let house = house().await;
    let ticket = house.browser().get(PAGE).await.input("ticket");
    let mut victim = house.browser();
    victim.get(PAGE).await;
    let form = [("ticket", ticket.as_str()), ("provider", "default")];
    let answer = victim.post(SIGN_IN, &form).await;
    answer.assert_refusal_page(StatusCode::FORBIDDEN, STOPPED);
    house.assert_provider_untouched();
}

#[tokio::test]
async fn a_session_cookie_that_was_copied_is_worth_nothing_after_a_quarter_of_an_hour() {
    let house = house().await;
    house.sign_in().await;
    let (browser, ticket, family) = connected(&house).await;
    let mut thief = house.browser();
    thief.jars = browser.jars.clone();
    house.clock.advance(899);
    assert!(open(&mut thief).await);
    house.clock.advance(1);
    assert!(!open(&mut thief).await);
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    let answer = thief.post(REVOKE, &form).await;
    answer.assert_refusal_page(StatusCode::FORBIDDEN, SIGNED_OUT);
}

#[tokio::test]
async fn using_the_page_does_not_make_a_session_longer() {
    let house = house().await;
    house.sign_in().await;
    let (mut browser, ticket, family) = connected(&house).await;
    house.clock.advance(800);
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    assert_eq!(
        browser.post(REVOKE, &form).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(open(&mut browser).await);
    house.clock.advance(100);
    assert!(!open(&mut browser).await);
}

#[tokio::test]
async fn a_session_of_another_issuer_with_the_same_keys_opens_nothing() {
    let house = house().await;
    let mut browser = house.browser();
    sign_in(&house, &mut browser, ADA).await;
    let cookie = session(&browser).unwrap().clone();
    let mut settings: Settings = house.settings.clone();
    settings.public_url = Origin::parse("https://other.example.test").unwrap();
    let other = house.replica_with(&settings, 7);
    let mut elsewhere = Browser::new("https://other.example.test", vec![other]);
    let jar = elsewhere.jars.entry("other.example.test".to_owned());
    jar.or_default().insert(SESSION.to_owned(), cookie.clone());
    let page = elsewhere
        .get("https://other.example.test/connections")
        .await;
    assert!(
        !page.text().contains("You are signed in as"),
        "{}",
        page.text()
    );
    // Nor does any other sealed thing pass for a session.
    let jar = browser.jars.get_mut(HOST).unwrap();
    let account = jar["__Host-vestibule-account"].clone();
    for text in [
        account.clone(),
        account.replace("vla_", "vss_"),
        cookie.replace("vss_", ""),
    ] {
        browser
            .jars
            .get_mut(HOST)
            .unwrap()
            .insert(SESSION.to_owned(), text);
        assert!(!open(&mut browser).await);
    }
}

#[tokio::test]
async fn a_session_that_was_put_into_the_browser_does_not_survive_the_sign_in() {
    let house = house().await;
    house.sign_in().await;
    // The attacker's own session, planted before the victim signs in.
    let mut attacker = house.browser();
    let theirs = sign_in(&house, &mut attacker, BOB).await.input("ticket");
    let planted = session(&attacker).unwrap().clone();
    let mut victim = house.browser();
    let away = leave(&mut victim, &[]).await;
    let jar = victim.jars.get_mut(HOST).unwrap();
    jar.insert(SESSION.to_owned(), planted.clone());
    let back = victim
        .sign_in_at_provider(away.location(), ADA.0, ADA.1)
        .await;
    victim.get(back.location()).await;
    assert_ne!(session(&victim), Some(&planted));
    assert!(victim.get(PAGE).await.text().contains("ada@example.com"));
    // What the attacker holds sees and ends nothing of the victim's, and is not even a session any more.
    let answer = victim
        .post(REVOKE, &[("ticket", &theirs), ("all", "yes")])
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!open(&mut attacker).await);
    // Two sign-ins of one user are two sessions.
    let first = session(&victim).unwrap().clone();
    sign_in_again(&house, &mut victim).await;
    assert_ne!(session(&victim), Some(&first));
}

async fn sign_in_again(house: &TestHouse, browser: &mut Browser) {
    browser.jars.get_mut(HOST).unwrap().remove(SESSION);
    let away = leave(browser, &[]).await;
    let back = browser
        .sign_in_at_provider(away.location(), ADA.0, ADA.1)
        .await;
    assert!(
        back.location().starts_with(ORIGIN),
        "{}",
        house.cognito.domain()
    );
    browser.get(back.location()).await;
}

#[tokio::test]
async fn a_callback_without_the_cookie_of_the_sign_in_signs_nobody_in() {
    let house = house().await;
    // The attacker signs in and lets the victim open the last step: the victim would see the attacker's list.
    let callback = up_to_callback(&mut house.browser(), BOB).await;
    let mut victim = house.browser();
    victim.get(PAGE).await;
    let answer = victim.get(&callback).await;
    answer.assert_refusal_page(
        StatusCode::FORBIDDEN,
        "This browser did not begin the sign-in",
    );
    assert_eq!(session(&victim), None);
    assert!(!open(&mut victim).await);
    // With a sign-in of its own under way it is no better: the state is not that one's.
    leave(&mut victim, &[]).await;
    assert_eq!(victim.get(&callback).await.status, StatusCode::FORBIDDEN);
    // Nor with a flow cookie that was given the attacker's state as its name.
    let state = param(&callback, "state");
    let jar = victim.jars.get_mut(HOST).unwrap();
    let own = jar.iter().find(|(name, _)| name.contains("flow-"));
    let own = own.unwrap().1.clone();
    jar.insert(format!("__Host-vestibule-flow-{state}"), own);
    assert_eq!(victim.get(&callback).await.status, StatusCode::FORBIDDEN);
    assert_eq!(session(&victim), None);
}

#[tokio::test]
async fn a_callback_counts_once_and_for_ten_minutes() {
    let house = house().await;
    let mut browser = house.browser();
    let callback = up_to_callback(&mut browser, ADA).await;
    assert_eq!(browser.get(&callback).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&callback).await.status, StatusCode::FORBIDDEN);
    let mut slow = house.browser();
    let callback = up_to_callback(&mut slow, ADA).await;
    house.clock.advance(600);
    assert_eq!(slow.get(&callback).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(session(&slow), None);
}

#[tokio::test]
async fn the_code_of_a_clients_sign_in_does_not_sign_anybody_in_here() {
    let house = house().await;
    let mut attacker = house.browser();
    let client = house.register(CALLBACK).await;
    let approved = house.approve(&mut attacker, &client).await;
    let back = attacker
        .sign_in_at_provider(approved.location(), BOB.0, BOB.1)
        .await;
    let stolen = param(back.location(), "code");
    let mut victim = house.browser();
    let away = leave(&mut victim, &[]).await;
    let state = param(away.location(), "state");
    let callback = format!("{ORIGIN}/callback?code={stolen}&state={state}");
    let answer = victim.get(&callback).await;
    answer.assert_refusal_page(StatusCode::FORBIDDEN, NOT_SIGNED_IN);
    assert_eq!(session(&victim), None);
}

#[tokio::test]
async fn the_code_of_a_persons_own_sign_in_gives_a_client_nothing() {
    let house = house().await;
    let stolen = param(&up_to_callback(&mut house.browser(), ADA).await, "code");
    let mut attacker = house.browser();
    let client = house.register(CALLBACK).await;
    let approved = house.approve(&mut attacker, &client).await;
    let state = param(approved.location(), "state");
    let callback = format!("{ORIGIN}/callback?code={stolen}&state={state}");
    let answer = attacker.get(&callback).await;
    let code = answer.location_param("code").unwrap();
    let answer = house.redeem(&client, &code).await;
    answer.assert_refused(400, "invalid_grant", "another sign-in's code");
}

/// One flow's cookie under the other's name, in both directions.
#[tokio::test]
async fn the_cookie_of_one_kind_of_sign_in_does_not_pass_for_the_other() {
    let house = house().await;
    let client = house.register(CALLBACK).await;
    let mut browser = house.browser();
    let approved = house.approve(&mut browser, &client).await;
    let clients = param(approved.location(), "state");
    let away = leave(&mut browser, &[]).await;
    let own = param(away.location(), "state");
    let name = |state: &str| format!("__Host-vestibule-flow-{state}");
    let jar = browser.jars.get_mut(HOST).unwrap();
    let (a, b) = (jar[&name(&clients)].clone(), jar[&name(&own)].clone());
    assert!(a.starts_with("vfl_") && b.starts_with("vaf_"));
    for (state, cookie) in [
        (&own, a.clone()),
        (&clients, b.clone()),
        (&own, a.replace("vfl_", "vaf_")),
        (&clients, b.replace("vaf_", "vfl_")),
    ] {
        let jar = browser.jars.get_mut(HOST).unwrap();
        jar.insert(name(state), cookie);
        let answer = browser
            .get(&format!("{ORIGIN}/callback?code=x&state={state}"))
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    }
    assert_eq!(house.cognito.control().calls(Endpoint::Token), 0);
}

#[tokio::test]
async fn an_answer_of_another_issuer_or_with_a_wrong_id_token_signs_nobody_in() {
    let house = house().await;
    let mut browser = house.browser();
    let callback = up_to_callback(&mut browser, ADA).await;
    let answer = browser
        .get(&format!("{callback}&iss=https://evil.example"))
        .await;
    answer.assert_refusal_page(
        StatusCode::FORBIDDEN,
        "The sign-in was stopped for your safety",
    );
    let callback = up_to_callback(&mut browser, ADA).await;
    let control = house.cognito.control();
    control.set_fault(Endpoint::Token, Some(Fault::WrongIssuer), Some(1));
    let answer = browser.get(&callback).await;
    answer.assert_refusal_page(StatusCode::BAD_GATEWAY, NOT_SIGNED_IN);
    assert_eq!(session(&browser), None);
}

/// The provider's session changed hands between two visits: the page is the new user's, and nothing of the old one's works.
#[tokio::test]
async fn when_the_provider_answers_as_another_user_it_is_that_users_page() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let (mut browser, ticket, family) = connected(&house).await;
    house.cognito.control().end_sessions();
    browser.jars.get_mut(HOST).unwrap().remove(SESSION);
    let list = sign_in(&house, &mut browser, BOB).await;
    assert!(list.text().contains("bob@example.com") && families(&list).is_empty());
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    assert_eq!(
        browser.post(REVOKE, &form).await.status,
        StatusCode::FORBIDDEN
    );
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn markup_in_a_clients_name_stays_text() {
    let house = house().await;
    let name = "</h2><script>alert(1)</script><form action=\"https://evil.example\">";
    let body = json!({ "client_name": name, "redirect_uris": [CALLBACK] });
    let id = house.post_json("/register", &body).await.json()["client_id"].clone();
    let client = Client {
        id: id.as_str().unwrap().to_owned(),
        redirect_uri: CALLBACK.to_owned(),
        verifier: CodeVerifier::generate(&SystemRandom).expose().to_owned(),
    };
    let code = house.code_of(&client, ADA.0, ADA.1).await;
    house.redeem(&client, &code).await;
    let list = sign_in(&house, &mut house.browser(), ADA).await;
    list.assert_page(StatusCode::OK, "What you have connected");
    let html = list.text();
    assert!(
        html.contains("&#60;script&#62;") && !html.contains("evil.example\">"),
        "{html}"
    );
}

#[tokio::test]
async fn nothing_in_a_request_says_where_the_browser_goes() {
    let house = house().await;
    let mut browser = house.browser();
    let evil = "https%3A%2F%2Fevil.example";
    let names = [
        "return",
        "return_to",
        "next",
        "redirect_uri",
        "url",
        "after",
    ];
    let query: String = names.map(|name| format!("&{name}={evil}")).concat();
    let callback = up_to_callback(&mut browser, ADA).await;
    let answer = browser.get(&format!("{callback}{query}")).await;
    assert_eq!(answer.location(), PAGE);
    let list = browser.get(&format!("{PAGE}?{}", &query[1..])).await;
    assert!(!list.text().contains("evil.example"), "{}", list.text());
    let ticket = list.input("ticket");
    let form = [
        ("ticket", ticket.as_str()),
        ("all", "yes"),
        ("return_to", "//evil.example"),
    ];
    let answer = browser
        .post(&format!("{REVOKE}?{}", &query[1..]), &form)
        .await;
    assert_eq!(answer.location(), PAGE);
}

#[tokio::test]
async fn no_cache_no_frame_and_no_foreign_origin_sees_the_list() {
    let house = house().await;
    house.sign_in().await;
    let mut browser = house.browser();
    let away = leave(&mut browser, &[]).await;
    assert_eq!(away.header("cache-control"), "no-store");
    let back = browser
        .sign_in_at_provider(away.location(), ADA.0, ADA.1)
        .await;
    let done = browser.get(back.location()).await;
    assert_eq!(done.header("cache-control"), "no-store");
    let cookie = done
        .set_cookies()
        .into_iter()
        .find(|own| own.starts_with(SESSION));
    let cookie = cookie.unwrap();
    assert!(
        cookie.ends_with("; Path=/; Max-Age=900; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    let origin = [
        ("origin", "https://evil.example"),
        ("accept", "application/json"),
    ];
    let list = browser.send(Method::GET, PAGE, &origin, None).await;
    assert_eq!(list.header("cache-control"), "no-store");
    assert!(list.header("vary").contains("Accept"));
    assert!(!list.headers.contains_key("access-control-allow-origin"));
    // `assert_page` looks at frames and the policy.
    let list = browser.get(PAGE).await;
    list.assert_page(StatusCode::OK, "What you have connected");
}

#[tokio::test]
async fn a_flood_is_stopped_before_store_and_provider() {
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        settings.limits.connections.total = "2/1m".parse_rate();
    })
    .await;
    let mut browser = house.browser();
    for expected in [200, 200, 429] {
        let answer = browser.get(PAGE).await;
        assert_eq!(answer.status.as_u16(), expected);
    }
    let answer = browser.post(REVOKE, &[("all", "yes")]).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "30");
}

trait ParseRate {
    fn parse_rate(self) -> Option<vestibule::settings::Rate>;
}

impl ParseRate for &str {
    fn parse_rate(self) -> Option<vestibule::settings::Rate> {
        vestibule::settings::Rate::parse(self).ok()
    }
}
