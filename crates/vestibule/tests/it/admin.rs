//! The interface for operators: grants listed and revoked, users and clients in quarantine, and who may not come in.

mod grants;
mod quarantine;
mod strangers;

use axum::body::Body;
use http::header::HOST;
use http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vestibule::House;
use vestibule::settings::{AdminSettings, Settings};
use vestibule_oauth::secret::Secret;

use crate::support::{Answer, TestHouse, whole};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn with_admin(settings: &mut Settings) {
    settings.admin = Some(AdminSettings {
        token: Secret::new(TOKEN),
        listen: AdminSettings::default_listen(),
    });
}

pub(crate) async fn house() -> TestHouse {
    TestHouse::stored(
        vestibule_standin::cognito::CognitoOptions::default(),
        with_admin,
    )
    .await
}

/// A request to the listener for operators with exactly these headers.
async fn send(
    house: &std::sync::Arc<House>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let router = house.admin_router().unwrap();
    whole(router.oneshot(request).await.unwrap()).await
}

/// What an operator asks for.
async fn ask(
    house: &std::sync::Arc<House>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        (HOST.as_str(), "127.0.0.1:8081"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    send(house, method, path, &headers, &body).await
}

async fn get(house: &TestHouse, path: &str) -> Value {
    let answer = ask(&house.house, Method::GET, path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

async fn delete(house: &TestHouse, path: &str) -> Value {
    let answer = ask(&house.house, Method::DELETE, path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

pub(crate) async fn shut_out(house: &TestHouse, path: &str) -> Value {
    let path = format!("/admin/quarantine/{path}");
    let body = json!({ "reason": "found on a stolen laptop" });
    let answer = ask(&house.house, Method::PUT, &path, Some(body)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

pub(crate) async fn let_in(house: &TestHouse, path: &str) {
    delete(house, &format!("/admin/quarantine/{path}")).await;
}

/// `sub` of a user, as the first grant of the list has it.
pub(crate) async fn user(house: &TestHouse) -> String {
    let list = get(house, "/admin/grants").await;
    list["grants"][0]["user"].as_str().unwrap().to_owned()
}

/// For tests elsewhere: shuts a user out.
pub(crate) async fn quarantine_user(house: &TestHouse, token: &str, user: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [
        (HOST.as_str(), "localhost"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/admin/quarantine/users/{user}");
    let body = json!({ "reason": "a test" }).to_string();
    let answer = send(&house.house, Method::PUT, &path, &headers, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
