//! `/admin/grants`: found, shown without secrets, revoked one by one and many at once.

use std::sync::Arc;

use http::Method;
use serde_json::json;
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use super::{ask, delete, get, house, user, with_admin};
use crate::support::{CALLBACK, TestHouse, Tokens};

async fn told(house: &TestHouse, times: u64) {
    for _ in 0..200 {
        if house.cognito.control().calls(Endpoint::Revoke) == times {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the provider was not told {times} times");
}

#[tokio::test]
async fn grants_are_found_by_user_client_and_resource() {
    let house = house().await;
    let (client, _) = house.sign_in().await;
    let (other, _) = house.sign_in().await;
    let list = get(&house, "/admin/grants").await;
    assert_eq!(list["grants"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&list["next"], &list["unreadable"]),
        (&json!(null), &json!(0))
    );
    let user = user(&house).await;
    let count = async |query: &str| {
        let list = get(&house, &format!("/admin/grants?{query}")).await;
        list["grants"].as_array().unwrap().len()
    };
    assert_eq!(count(&format!("user={user}")).await, 2);
    assert_eq!(count("user=nobody").await, 0);
    assert_eq!(count(&format!("client={}", client.id)).await, 1);
    assert_eq!(count(&format!("user={user}&client={}", other.id)).await, 1);
    assert_eq!(count("client=name:test").await, 2);
    assert_eq!(count("client=host:test.example").await, 0);
    assert_eq!(count("resource=/mcp").await, 2);
    assert_eq!(count("resource=/other").await, 0);
}

#[tokio::test]
async fn a_cursor_leads_over_every_grant_once() {
    let house = house().await;
    for _ in 0..5 {
        house.sign_in().await;
    }
    let user = user(&house).await;
    for filter in ["", "resource=/mcp&", &format!("user={user}&")] {
        let mut families = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/admin/grants?{filter}limit=2{cursor}");
            let list = get(&house, &path).await;
            let page = list["grants"].as_array().unwrap();
            assert!(page.len() <= 2, "{list}");
            families.extend(page.iter().map(|grant| grant["family"].to_string()));
            let Some(next) = list["next"].as_str() else {
                break;
            };
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            cursor = format!("&cursor={next}");
        }
        families.sort();
        let count = families.len();
        families.dedup();
        assert_eq!((count, families.len()), (5, 5), "{filter}");
    }
}

#[tokio::test]
async fn an_answer_holds_no_token_no_secret_and_no_claim() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let list = get(&house, "/admin/grants").await;
    let family = list["grants"][0]["family"].as_str().unwrap();
    let one = get(&house, &format!("/admin/grants/{family}")).await;
    assert_eq!(one, list["grants"][0]);
    let mut members: Vec<&String> = one.as_object().unwrap().keys().collect();
    members.sort();
    let expected = [
        "client",
        "ends_at",
        "family",
        "last_used",
        "provider",
        "refreshes",
        "resource",
        "scope",
        "signed_in_at",
        "user",
    ];
    assert_eq!(members, expected);
    assert_eq!(one["client"]["name"], "Test");
    let text = list.to_string();
    for secret in [&tokens.access, &tokens.refresh, &client.id] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }
    assert!(!text.contains("ada@") && !text.contains("vrs_"), "{text}");
}

#[tokio::test]
async fn a_revoked_grant_is_dead_here_at_once_elsewhere_and_at_the_provider() {
    let mut house = house().await;
    let other = house.faulty_replica(2);
    let (client, tokens) = house.sign_in().await;
    let (neighbour, theirs) = house.sign_in().await;
    let list = get(&house, &format!("/admin/grants?client={}", client.id)).await;
    let family = list["grants"][0]["family"].as_str().unwrap();
    let path = format!("/admin/grants/{family}");
    let counts = json!({ "matched": 1, "revoked": 1, "unreadable": 0 });
    assert_eq!(delete(&house, &path).await, counts);
    house.assert_shut(&tokens.access, "here").await;
    let answer = house.refresh(&client, &tokens.refresh).await;
    answer.assert_refused(400, "invalid_grant", "revoked");
    told(&house, 1).await;
    // Once is enough, and who revoked it stays known.
    assert_eq!(delete(&house, &path).await["revoked"], 0);
    let one = get(&house, &path).await;
    assert_eq!(one["revoked"]["why"], "operator");
    let live = get(&house, "/admin/grants").await;
    assert_eq!(live["grants"].as_array().unwrap().len(), 1);
    let all = get(&house, "/admin/grants?revoked=true").await;
    assert_eq!(all["grants"].as_array().unwrap().len(), 2);
    other.house.follow_once().await.unwrap();
    house.router = other.router.clone();
    house.assert_shut(&tokens.access, "elsewhere").await;
    Tokens::of(&house.refresh(&neighbour, &theirs.refresh).await);
    assert_eq!(house.cognito.control().calls(Endpoint::Revoke), 1);
}

#[tokio::test]
async fn many_are_revoked_at_once_and_the_others_go_on() {
    let house = house().await;
    let (_, hers) = house.sign_in().await;
    let user = user(&house).await;
    let shared = house.register(CALLBACK).await;
    let mut of = Vec::new();
    for (username, password) in [("ada", "lovelace"), ("bob", "builder")] {
        let code = house.code_of(&shared, username, password).await;
        of.push(Tokens::of(&house.redeem(&shared, &code).await));
    }
    let (again, his) = (&of[0], &of[1]);
    let counts = delete(&house, &format!("/admin/grants?user={user}")).await;
    assert_eq!(
        counts,
        json!({ "matched": 2, "revoked": 2, "unreadable": 0 })
    );
    house.assert_shut(&hers.access, "of the user").await;
    house.assert_shut(&again.access, "of the user").await;
    house.whoami(&his.access).await;
    told(&house, 2).await;
    let counts = delete(&house, &format!("/admin/grants?client={}", shared.id)).await;
    assert_eq!(counts["revoked"], 1);
    house.assert_shut(&his.access, "of the client").await;
    assert_eq!(delete(&house, "/admin/grants?all=true").await["matched"], 0);
}

#[tokio::test]
async fn a_slip_of_the_pen_revokes_nothing() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    for query in [
        "",
        "?",
        "?user=",
        "?usr=ada",
        "?all=yes",
        "?all=false",
        "?all=true&user=ada",
        "?client=name:*",
        "?user=a&user=b",
        "?limit=1",
    ] {
        let path = format!("/admin/grants{query}");
        let answer = ask(&house.house, Method::DELETE, &path, None).await;
        answer.assert_refused(400, "invalid_request", query);
    }
    for path in ["/admin/grants?limit=0", "/admin/grants?limit=501"] {
        let answer = ask(&house.house, Method::GET, path, None).await;
        answer.assert_refused(400, "invalid_request", path);
    }
    let answer = ask(&house.house, Method::DELETE, "/admin/grants/nothing", None).await;
    assert_eq!(answer.status, 404);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn without_a_store_the_answer_says_that_there_is_none() {
    let house = TestHouse::build(CognitoOptions::default(), with_admin).await;
    for (method, path) in [
        (Method::GET, "/admin/grants"),
        (Method::DELETE, "/admin/grants/x"),
        (Method::GET, "/admin/quarantine"),
    ] {
        let answer = ask(&house.house, method, path, None).await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(answer.text().contains("store"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_nothing_is_said_to_be_revoked() {
    let house = house().await;
    house.sign_in().await;
    let replica = house.faulty_replica(2);
    replica.store.down(crate::support::Trouble::Refused);
    let admin = Arc::clone(&replica.house);
    for (method, path) in [
        (Method::GET, "/admin/grants"),
        (Method::DELETE, "/admin/grants?all=true"),
        (Method::GET, "/admin/quarantine"),
    ] {
        let answer = ask(&admin, method, path, None).await;
        answer.assert_refused(503, "temporarily_unavailable", path);
        assert_eq!(answer.header("retry-after"), "5");
    }
}
