//! Scopes that are more than names: hierarchy, groups, the provider's scopes behind them, words on the page.

use http::StatusCode;
use vestibule::settings::{ScopeDetail, Settings, TokenFormat};
use vestibule_oauth::scope::ScopeSet;

use super::rig::{approve, claims, consent_page, sign_in_at};
use crate::support::{CALLBACK, ORIGIN, TestHouse, Tokens};

const ADA: (&str, &str) = ("ada", "lovelace");
const BOB: (&str, &str) = ("bob", "builder");

/// `mcp:admin` is for admins (Ada) and brings `mcp:write`, which stands for the pool's `mcp/write` and brings reading.
fn described(settings: &mut Settings) {
    let resource = &mut settings.resources[0];
    resource.scopes = ScopeSet::parse("mcp:read mcp:write mcp:admin");
    resource.default_scopes = ScopeSet::parse("mcp:read");
    resource.token_format = TokenFormat::Jwt;
    resource.scope_details = vec![
        ScopeDetail {
            name: "mcp:write".to_owned(),
            description: Some("Change <things>".to_owned()),
            description_ja: Some("変更する".to_owned()),
            provider_scope: Some("mcp/write".to_owned()),
            implies: ScopeSet::parse("mcp:read"),
            ..ScopeDetail::default()
        },
        ScopeDetail {
            name: "mcp:admin".to_owned(),
            groups: vec!["admins".to_owned()],
            implies: ScopeSet::parse("mcp:write"),
            ..ScopeDetail::default()
        },
    ];
}

#[tokio::test]
async fn the_providers_scope_is_asked_for_only_when_ours_is_approved() {
    let house = TestHouse::with(described).await;
    let client = house.register(CALLBACK).await;
    for (asked, expected) in [
        ("mcp:read", "openid email profile"),
        ("", "openid email profile"),
        ("mcp:admin offline_access", "openid email profile mcp/write"),
    ] {
        let mut browser = house.browser();
        let page = consent_page(&mut browser, &client, asked, &[]).await;
        let approved = approve(&mut browser, &page, None).await;
        assert_eq!(approved.location_param("scope").unwrap(), expected);
    }
}

#[tokio::test]
async fn a_scope_brings_what_it_implies_and_the_answer_says_so() {
    let house = TestHouse::with(described).await;
    let client = house.register(CALLBACK).await;
    let tokens = Tokens::of(&sign_in_at(&house, &client, None, ADA, "mcp:admin").await);
    assert_eq!(tokens.scope, "mcp:admin mcp:write mcp:read");
    assert_eq!(claims(&tokens.access)["scope"], tokens.scope.as_str());
}

#[tokio::test]
async fn a_user_outside_the_group_gets_less_and_is_told_the_truth() {
    let house = TestHouse::with(described).await;
    let client = house.register(CALLBACK).await;
    let answer = sign_in_at(&house, &client, None, BOB, "mcp:admin mcp:read").await;
    let tokens = Tokens::of(&answer);
    assert_eq!(tokens.scope, "mcp:read mcp:write");
    assert_eq!(claims(&tokens.access)["scope"], "mcp:read mcp:write");
    // A refresh does not bring back what the groups forbid, asked for or not.
    let refreshed = Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    assert_eq!(refreshed.scope, "mcp:read mcp:write");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
        ("scope", "mcp:admin"),
    ];
    let answer = house.post_form("/token", &form).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (StatusCode::BAD_REQUEST, "invalid_scope"),
        "{}",
        answer.text()
    );
    // The grant is not harmed by it.
    Tokens::of(&house.refresh(&client, &refreshed.refresh).await);
}

#[tokio::test]
async fn a_user_who_may_have_nothing_of_it_gets_no_token() {
    let house = TestHouse::with(|settings| {
        described(settings);
        for name in ["mcp:read", "mcp:write"] {
            let detail = ScopeDetail {
                name: name.to_owned(),
                groups: vec!["admins".to_owned()],
                ..ScopeDetail::default()
            };
            let details = &mut settings.resources[0].scope_details;
            details.retain(|own| own.name != name);
            details.push(detail);
        }
    })
    .await;
    let client = house.register(CALLBACK).await;
    let answer = sign_in_at(&house, &client, None, BOB, "mcp:admin").await;
    assert_eq!(answer.error(), "invalid_grant");
    assert!(
        answer.text().contains("open to your account"),
        "{}",
        answer.text()
    );
    let tokens = Tokens::of(&sign_in_at(&house, &client, None, ADA, "mcp:read").await);
    assert_eq!(tokens.scope, "mcp:read");
}

#[tokio::test]
async fn the_page_says_scopes_in_words_of_the_readers_language() {
    let house = TestHouse::with(described).await;
    let client = house.register(CALLBACK).await;
    let challenge = TestHouse::challenge(&client);
    let url = TestHouse::authorize_url(&TestHouse::authorization(&client, &challenge));
    let path = url.strip_prefix(ORIGIN).unwrap();
    for (language, words) in [
        ("ja-JP,en;q=0.5", "変更する"),
        ("de,en;q=0.5,ja;q=0.2", "Change &#60;things&#62;"),
        ("de", "Change &#60;things&#62;"),
    ] {
        let headers = [("accept-language", language)];
        let page = house.request(http::Method::GET, path, &headers, "").await;
        assert!(page.text().contains(words), "{language}: {}", page.text());
        assert!(page.text().contains("<code>mcp:write</code>"));
    }
}
