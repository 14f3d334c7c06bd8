//! `POST /token`: redemption with every binding, refresh, and each error code (RFC 6749 §4.1.3, §5.2, §6).

use serde_json::json;

use crate::support::TestHouse;

#[tokio::test]
async fn a_sign_in_gives_tokens_that_open_the_door() {
    let house = TestHouse::new().await;
    let (_, tokens) = house.sign_in().await;
    assert_eq!(tokens.scope, "mcp:read mcp:write");
    assert_eq!(tokens.expires_in, 3600);
    let answer = house.call(&tokens.access, &json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    println!("{}", answer.text());
}
