//! What lies in the store: nothing before a code is redeemed, and nothing for ever.

use crate::client::refresh_token;
use crate::places::count;
use crate::street::{Plan, Street};

/// `tokens.refresh_ttl`.
const LONGEST: u64 = 30 * 86_400;

pub(crate) async fn nothing_is_stored_before_a_code_is_redeemed_and_all_of_it_ends(store: &str) {
    let mut street = Street::open(Plan::new(store, Some(0))).await;
    let before = looked_into(&mut street, store).await;
    let client = street.register().await;
    street.register().await;
    let code = client.code().await;
    client.code().await;
    assert_eq!(
        looked_into(&mut street, store).await,
        before,
        "before the redemption"
    );

    let token = client.redeem(&code).await;
    let answer = client.refresh(street.other(), &token).await.unwrap();
    let next = refresh_token(&answer);
    // A replay of the code, a reuse and a revocation leave traces, too.
    let (other, first) = street.sign_in().await;
    let form = [("token", first.as_str()), ("client_id", other.id.as_str())];
    assert_eq!(other.post(0, "/revoke", &form).await.unwrap().status, 200);
    refresh_token(&client.refresh(0, &next).await.unwrap());
    assert!(looked_into(&mut street, store).await > before + 2);
}

/// How many entries there are. All of them must end.
async fn looked_into(street: &mut Street, store: &str) -> usize {
    // A file is for one process.
    let file = store.starts_with("redb:");
    if file {
        street.replicas[0].stop();
    }
    let (entries, endless) = count(store, LONGEST + 5).await;
    assert_eq!(endless, 0, "of {entries}");
    if file {
        street.replicas[0].start().await;
    }
    entries
}
