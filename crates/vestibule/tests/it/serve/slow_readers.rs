//! Who reads slowly is waited for, and who reads nothing is not.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;
use vestibule::serve::ServeLimits;

use super::{Ended, GENEROUS, House};

/// A body that has more whenever somebody takes it.
pub(super) fn flood(ended: Ended) -> Body {
    let pieces = futures_util::stream::unfold(ended, |ended| async move {
        let piece = Bytes::from(vec![b'x'; 1 << 16]);
        Some((Ok::<_, Infallible>(piece), ended))
    });
    Body::from_stream(pieces)
}

/// The kernel counts from the first time that it had to wait, and looks when it asks the client again.
#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "it is Linux that does it")]
async fn an_attacker_who_reads_nothing_cannot_hold_a_stream_for_ever() {
    let house = House::open(ServeLimits {
        send_timeout: Duration::from_millis(1500),
        ..GENEROUS
    });
    let mut reader = house.begin("/flood").await;
    let stalled = house.begin("/flood").await;
    house.until(&house.begun, 2).await;
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        loop {
            // Slowly, and again and again.
            sleep(Duration::from_millis(20)).await;
            assert_ne!(reader.read(&mut buffer).await.unwrap(), 0);
        }
    });
    house.until(&house.ended, 1).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!reading.is_finished(), "who reads is left alone");
    assert_eq!(house.ended.load(Ordering::SeqCst), 1);
    reading.abort();
    drop(stalled);
}
