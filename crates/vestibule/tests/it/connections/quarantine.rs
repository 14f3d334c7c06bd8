//! `/connections` and the quarantine: who is shut out sees it, and may still take back what they gave.

use http::StatusCode;

use super::rig::{PAGE, REVOKE, connected, families};
use crate::admin::{house, let_in, shut_out, user};

#[tokio::test]
async fn a_user_in_quarantine_sees_it_and_may_still_disconnect() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    let user = user(&house).await;
    let (mut before, _, _) = connected(&house).await;
    shut_out(&house, &format!("users/{user}")).await;
    // Whether the session is there already or begins now.
    let (mut browser, ticket, family) = connected(&house).await;
    for browser in [&mut before, &mut browser] {
        let page = browser.get(PAGE).await;
        let text = page.text();
        assert!(text.contains("Your account is suspended"), "{text}");
        // The reason is for operators.
        assert!(!text.contains("stolen"), "{text}");
        assert_eq!(families(&page), [family.as_str()]);
    }
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    let answer = browser.post(REVOKE, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    assert!(families(&browser.get(PAGE).await).is_empty());
    // And it stays disconnected when they are let in again.
    let_in(&house, &format!("users/{user}")).await;
    let page = browser.get(PAGE).await;
    assert!(!page.text().contains("suspended"), "{}", page.text());
    house.assert_shut(&tokens.access, "disconnected").await;
    let refused = house.refresh(&client, &tokens.refresh).await;
    refused.assert_refused(400, "invalid_grant", "disconnected");
}

#[tokio::test]
async fn a_client_in_quarantine_is_shown_as_such_and_can_be_disconnected() {
    let house = house().await;
    let (client, tokens) = house.sign_in().await;
    shut_out(&house, &format!("clients/{}", client.id)).await;
    let (mut browser, ticket, family) = connected(&house).await;
    let page = browser.get(PAGE).await;
    let text = page.text();
    assert!(text.contains("suspended this application"), "{text}");
    assert!(!text.contains("Your account is suspended"), "{text}");
    let form = [("ticket", ticket.as_str()), ("grant", family.as_str())];
    browser.post(REVOKE, &form).await;
    assert!(families(&browser.get(PAGE).await).is_empty());
    let_in(&house, &format!("clients/{}", client.id)).await;
    house.assert_shut(&tokens.access, "disconnected").await;
}
