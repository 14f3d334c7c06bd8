//! Bugs that other products of this kind had, one test each, named after the bug (facts/pitfalls.md part I "Own findings"
//! and part II §2.6). The product is named where the bug was found.

mod grants;
mod sign_in;
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{Client, TestHouse, Tokens};

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "t", "version": "1" } } })
}

/// The claims of a JWT, unverified.
fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// What the MCP server was told about the caller of the newest request.
fn upstream_claims(house: &TestHouse) -> Value {
    let headers = house.demo.last_headers();
    let bearer = headers["authorization"].to_str().unwrap();
    claims(bearer.strip_prefix("Bearer ").unwrap())
}

/// Tokens of another user than Ada.
async fn sign_in_as(house: &TestHouse, client: &Client, user: &str, password: &str) -> Tokens {
    let mut browser = house.browser();
    let answer = house.browse(&mut browser, client, user, password).await;
    let code = answer.location_param("code").unwrap();
    let form = TestHouse::redemption(client, &code);
    Tokens::of(&house.post_form("/token", &form).await)
}
