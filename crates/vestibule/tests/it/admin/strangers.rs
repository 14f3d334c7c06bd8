//! Who may not come in: without the token, with another one, with one in the query, from a web page.

use http::Method;

use super::{TOKEN, ask, house, send, with_admin};
use crate::support::TestHouse;

const HERE: (&str, &str) = ("host", "127.0.0.1:8081");

#[tokio::test]
async fn t_nobody_comes_in_without_the_token() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let right = format!("Bearer {TOKEN}");
    let wrong: Vec<Vec<(&str, String)>> = vec![
        vec![],
        vec![("authorization", String::new())],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", "Bearer ".to_owned())],
        vec![("authorization", format!("Bearer {}", &TOKEN[1..]))],
        vec![("authorization", format!("Bearer {TOKEN}0"))],
        vec![("authorization", format!("Bearer {}", tokens.access))],
        vec![("authorization", format!("Basic {TOKEN}"))],
        vec![("authorization", TOKEN.to_owned())],
        vec![("cookie", format!("token={TOKEN}"))],
        vec![("x-admin-token", TOKEN.to_owned())],
        vec![
            ("authorization", right.clone()),
            ("authorization", "Bearer x".to_owned()),
        ],
    ];
    for headers in &wrong {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<_> = std::iter::once(HERE).chain(headers).collect();
        let path = "/admin/grants?all=true";
        let answer = send(&house.house, Method::DELETE, path, &headers, "").await;
        answer.assert_refused(401, "invalid_token", &format!("{headers:?}"));
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert!(answer.json()["reference"].is_string());
    }
    // What is not there is as closed as what is.
    let answer = send(&house.house, Method::GET, "/admin/nothing", &[HERE], "").await;
    assert_eq!(answer.status, 401);
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn t_a_token_in_the_query_is_not_looked_at() {
    let house = house().await;
    for name in ["access_token", "token", "admin_token"] {
        let path = format!("/admin/grants?{name}={TOKEN}");
        let answer = send(&house.house, Method::GET, &path, &[HERE], "").await;
        answer.assert_refused(401, "invalid_token", name);
        // It would stay in logs and histories: not even beside the right header.
        let answer = ask(&house.house, Method::GET, &path, None).await;
        answer.assert_refused(400, "invalid_request", name);
        assert!(!answer.text().contains(TOKEN));
    }
}

#[tokio::test]
async fn t_a_web_page_gets_nothing_even_if_it_knew_the_token() {
    let house = house().await;
    let (_, tokens) = house.sign_in().await;
    let bearer = format!("Bearer {TOKEN}");
    let right = ("authorization", bearer.as_str());
    for from in [
        vec![HERE, ("origin", "https://evil.example")],
        vec![HERE, ("origin", "http://127.0.0.1:8081")],
        vec![HERE, ("origin", "null")],
        vec![HERE, ("sec-fetch-site", "cross-site")],
        vec![HERE, ("sec-fetch-site", "same-origin")],
        // Its name was made to lead here.
        vec![("host", "evil.example:8081")],
        vec![("host", "127.0.0.1.evil.example")],
        vec![],
    ] {
        let headers: Vec<_> = from.iter().copied().chain([right]).collect();
        let path = "/admin/grants?all=true";
        for method in [Method::DELETE, Method::OPTIONS, Method::GET] {
            let answer = send(&house.house, method, path, &headers, "").await;
            answer.assert_refused(403, "access_denied", &format!("{from:?}"));
            let cors = answer.headers.keys();
            let mut cors = cors.filter(|name| name.as_str().starts_with("access-control"));
            assert_eq!(cors.next(), None);
        }
    }
    house.whoami(&tokens.access).await;
}

#[tokio::test]
async fn t_wrong_tokens_are_limited_and_the_operator_is_not_locked_out() {
    let house = house().await;
    let mut limited = 0;
    for _ in 0..100 {
        let headers = [HERE, ("authorization", "Bearer guess")];
        let answer = send(&house.house, Method::GET, "/admin/grants", &headers, "").await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
            limited += 1;
        }
    }
    assert!((60..100).contains(&limited), "{limited}");
    let answer = ask(&house.house, Method::GET, "/admin/grants", None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_public_listeners_know_nothing_of_it_and_it_is_off_unless_configured() {
    let house = house().await;
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    for path in ["/admin/grants", "/admin/quarantine", "/admin"] {
        let answer = house.request(Method::GET, path, &headers, "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert!(TestHouse::new().await.house.admin_router().is_none());
}

#[tokio::test]
async fn a_reload_takes_another_token_and_the_old_one_is_over() {
    let mut house = house().await;
    let other = "fedcba9876543210fedcba9876543210";
    house.reload(|settings, _| {
        with_admin(settings);
        settings.admin.as_mut().unwrap().token = vestibule_oauth::secret::Secret::new(other);
    });
    let answer = ask(&house.house, Method::GET, "/admin/grants", None).await;
    assert_eq!(answer.status, 401);
    let bearer = format!("Bearer {other}");
    let headers = [HERE, ("authorization", bearer.as_str())];
    let answer = send(&house.house, Method::GET, "/admin/grants", &headers, "").await;
    assert_eq!(answer.status, 200);
}
