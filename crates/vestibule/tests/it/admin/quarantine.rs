//! Quarantine: shut out at every door, at once here and within one look at the list elsewhere; let in again with the same
//! tokens.

use http::{Method, StatusCode};
use serde_json::json;
use vestibule_standin::cognito::{CognitoOptions, Endpoint};

use super::{ask, get, house, let_in, shut_out, user, with_admin};
use crate::support::{CALLBACK, Client, ClientSite, TestHouse, Tokens};

async fn authorize(house: &TestHouse, client: &Client) -> crate::support::Answer {
    let challenge = TestHouse::challenge(client);
    let params = TestHouse::authorization(client, &challenge);
    house
        .browser()
        .get(&TestHouse::authorize_url(&params))
        .await
}

#[tokio::test]
async fn a_client_in_quarantine_is_shut_out_at_every_door_and_goes_on_afterwards() {
    let mut house = house().await;
    let other = house.faulty_replica(2);
    let (client, tokens) = house.sign_in().await;
    let (neighbour, theirs) = house.sign_in().await;
    let fresh = house.register(CALLBACK).await;
    let code = house.code(&client).await;
    let path = format!("clients/{}", client.id);
    let entry = shut_out(&house, &path).await;
    assert_eq!(entry["kind"], "client");
    let digest = entry["id"].as_str().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{entry}");
    house.assert_shut(&tokens.access, "here, at once").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "unauthorized_client", "a refresh");
    let redemption = TestHouse::redemption(&client, &code);
    let refused = house.post_form("/token", &redemption).await;
    refused.assert_refused(400, "unauthorized_client", "a code");
    let page = authorize(&house, &client).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text().contains("suspended") && page.text().contains("Reference"));
    // The reason is for operators.
    assert!(!page.text().contains("stolen"), "{}", page.text());
    // Nobody else notices.
    assert_eq!(authorize(&house, &fresh).await.status, StatusCode::OK);
    house.whoami(&theirs.access).await;
    Tokens::of(&house.refresh(&neighbour, &theirs.refresh).await);
    // Elsewhere within one look at the list.
    let here = std::mem::replace(&mut house.router, other.router.clone());
    house.whoami(&tokens.access).await;
    other.house.follow_once().await.unwrap();
    house.assert_shut(&tokens.access, "elsewhere").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "unauthorized_client", "elsewhere");
    let_in(&house, &format!("clients/{digest}")).await;
    other.house.follow_once().await.unwrap();
    house.whoami(&tokens.access).await;
    house.router = here;
    house.whoami(&tokens.access).await;
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
    Tokens::of(&house.post_form("/token", &redemption).await);
}

#[tokio::test]
async fn a_user_in_quarantine_is_shut_out_of_every_client_and_goes_on_afterwards() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let user = user(&house).await;
    let path = format!("users/{user}");
    shut_out(&house, &path).await;
    house.assert_shut(&tokens.access, "here, at once").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "a refresh");
    assert!(refused.text().contains("suspended"), "{}", refused.text());
    // A new sign-in ends at the token endpoint, and what the provider gave for it is given back.
    let other = house.register(CALLBACK).await;
    let code = house.code(&other).await;
    let redemption = TestHouse::redemption(&other, &code);
    let refused = house.post_form("/token", &redemption).await;
    refused.assert_refused(400, "invalid_grant", "a new sign-in");
    crate::grants::rig::eventually(|| {
        let control = house.cognito.control();
        control.calls(Endpoint::Revoke) == 1
    })
    .await;
    let_in(&house, &path).await;
    house.whoami(&tokens.access).await;
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn a_quarantine_ends_by_itself_at_every_replica() {
    let mut house = house().await;
    let other = house.faulty_replica(2);
    let (client, tokens) = house.sign_in().await;
    let user = user(&house).await;
    let path = format!("/admin/quarantine/users/{user}");
    let now = vestibule_oauth::time::Clock::now(house.clock.as_ref()).0;
    let body = json!({ "reason": "a day off", "ends_at": now + 600 });
    let answer = ask(&house.house, Method::PUT, &path, Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    other.house.follow_once().await.unwrap();
    house.clock.advance(599);
    house.assert_shut(&tokens.access, "here").await;
    house.clock.advance(1);
    house.whoami(&tokens.access).await;
    assert_eq!(
        get(&house, "/admin/quarantine").await["quarantine"],
        json!([])
    );
    house.router = other.router.clone();
    house.whoami(&tokens.access).await;
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn a_name_in_quarantine_holds_for_those_who_register_anew() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    shut_out(&house, "clients/name:te*").await;
    house.assert_shut(&tokens.access, "by name").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "unauthorized_client", "by name");
    let anew = house.register(CALLBACK).await;
    assert_eq!(authorize(&house, &anew).await.status, StatusCode::FORBIDDEN);
    let_in(&house, "clients/name:TE*").await;
    assert_eq!(authorize(&house, &anew).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_host_in_quarantine_holds_for_every_document_there() {
    const ID: &str = "https://client.example/app.json";
    let site = ClientSite::start().await;
    let house = TestHouse::stored(CognitoOptions::default(), |settings| {
        with_admin(settings);
        site.configure(settings);
    })
    .await;
    let redirect_uris = [CALLBACK];
    site.serves(&json!({ "client_id": ID, "client_name": "App", "redirect_uris": redirect_uris }));
    let client = Client {
        id: ID.to_owned(),
        ..house.register(CALLBACK).await
    };
    let code = house.code(&client).await;
    let tokens = Tokens::of(&house.redeem(&client, &code).await);
    for selector in ["host:client.example", "host:CLIENT.example", "name:app"] {
        let path = format!("clients/{selector}");
        shut_out(&house, &path).await;
        house.assert_shut(&tokens.access, selector).await;
        assert_eq!(authorize(&house, &client).await.status, 403, "{selector}");
        let refused = house.refresh(&client, &tokens.refresh).await;
        refused.assert_refused(400, "unauthorized_client", selector);
        let_in(&house, &path).await;
        house.whoami(&tokens.access).await;
    }
    Tokens::of(&house.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn a_replica_that_starts_knows_who_is_in_quarantine_before_it_is_ready() {
    let mut house = house().await;
    let (_, tokens) = house.sign_in().await;
    let user = user(&house).await;
    shut_out(&house, &format!("users/{user}")).await;
    let late = house.faulty_replica(2);
    house.router = late.router.clone();
    assert_eq!(house.get("/readyz").await.status, 503);
    late.house.follow_once().await.unwrap();
    assert_eq!(house.get("/readyz").await.status, 200);
    house.assert_shut(&tokens.access, "since before").await;
    // And a reload of the configuration forgets nobody.
    house.reload(|_, _| {});
    house.assert_shut(&tokens.access, "after a reload").await;
}

#[tokio::test]
async fn an_entry_says_who_why_and_since_when() {
    let house = house().await;
    let answer = ask(
        &house.house,
        Method::GET,
        "/admin/quarantine/users/ada",
        None,
    )
    .await;
    assert_eq!(answer.status, 404);
    shut_out(&house, "users/ada").await;
    shut_out(&house, "clients/desk").await;
    shut_out(&house, "clients/https%3A%2F%2Fed.example%2Fclient").await;
    let one = get(&house, "/admin/quarantine/clients/desk").await;
    assert_eq!(
        (&one["kind"], &one["named"]),
        (&json!("client"), &json!("desk"))
    );
    assert_eq!(one["reason"], "found on a stolen laptop");
    assert!(
        one["since"].is_u64() && one.get("ends_at").is_none(),
        "{one}"
    );
    let list = get(&house, "/admin/quarantine").await;
    assert_eq!(list["quarantine"].as_array().unwrap().len(), 3);
    assert!(list.to_string().contains("https://ed.example/client"));
    for (path, body) in [
        ("users/ada", json!({})),
        ("users/ada", json!({ "reason": " " })),
        ("users/ada", json!({ "reason": "two\nlines" })),
        ("users/ada", json!({ "reason": "x", "ends_at": 1 })),
        ("users/ada", json!({ "reason": "x", "until": 1 })),
        ("clients/name:*", json!({ "reason": "x" })),
    ] {
        let path = format!("/admin/quarantine/{path}");
        let answer = ask(&house.house, Method::PUT, &path, Some(body)).await;
        answer.assert_refused(400, "invalid_request", &path);
    }
    let answer = ask(
        &house.house,
        Method::GET,
        "/admin/quarantine/groups/x",
        None,
    )
    .await;
    assert_eq!(answer.status, 404);
}

/// Whoever can write to the store cannot make an entry be about somebody else.
#[tokio::test]
async fn t_an_entry_that_was_moved_to_another_key_does_not_count() {
    use vestibule::store::{Expect, Key, Owner, Space};
    let house = house().await;
    shut_out(&house, "users/ada").await;
    let store = house.store.clone().unwrap();
    let owner = Owner::all_of(Space::Quarantine);
    let entry = store.list(&owner, None, 10).await.unwrap().remove(0);
    let elsewhere = Key::hashed(Space::Quarantine, "user bob");
    store
        .put(&elsewhere, entry.value.clone(), Expect::Any)
        .await
        .unwrap();
    assert!(store.delete(&entry.key).await.unwrap());
    let list = get(&house, "/admin/quarantine").await;
    assert_eq!(
        (&list["quarantine"], &list["unreadable"]),
        (&json!([]), &json!(1))
    );
    let late = house.faulty_replica(2);
    late.house.follow_once().await.unwrap();
}
