//! Rotation, outages and floods, against a key server on loopback and a hand-set clock.

use vestibule_oauth::jose::SigningKey;
use vestibule_oauth::time::ManualClock;

use super::*;
use crate::testing::{self, NOW, Server};

fn source(server: &Server) -> (Arc<JwksSource>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let source = JwksSource::new(
        server.url(),
        testing::outbound(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        DEFAULT_TTL_SECONDS,
    );
    (Arc::new(source), clock)
}

async fn verify(source: &JwksSource, key: &SigningKey) -> Result<Map<String, Value>, VerifyError> {
    let token = key
        .sign("at+jwt", &testing::claims(&serde_json::json!({})))
        .unwrap();
    source.verify(&Jws::parse(&token).unwrap()).await
}

#[tokio::test]
async fn many_callers_cost_one_request() {
    let key = testing::key(0);
    let server = Server::start(testing::key_set(&[&key])).await;
    let (source, _clock) = source(&server);
    let callers = (0..20).map(|_| verify(&source, &key));
    for result in futures_util::future::join_all(callers).await {
        result.unwrap();
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_forged_key_ids_do_not_cause_a_flood() {
    let (old, new) = (testing::key(0), testing::key(1));
    let server = Server::start(testing::key_set(&[&old])).await;
    let (source, clock) = source(&server);
    verify(&source, &old).await.unwrap();
    server.answer(200, testing::key_set(&[&old, &new]));
    for _ in 0..10 {
        let error = verify(&source, &new).await.unwrap_err();
        assert!(
            matches!(error, VerifyError::Token(JwsError::UnknownKey(_))),
            "{error}"
        );
    }
    assert_eq!(server.requests(), 1, "throttled");
    clock.advance(THROTTLE_SECONDS);
    verify(&source, &new).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn old_keys_serve_through_an_outage_but_not_for_ever() {
    let key = testing::key(0);
    let server = Server::start(testing::key_set(&[&key])).await;
    let (source, clock) = source(&server);
    verify(&source, &key).await.unwrap();
    for (status, text) in [(500, ""), (200, "<html>"), (200, "{\"keys\":[]}")] {
        server.answer(status, text);
        clock.advance(DEFAULT_TTL_SECONDS);
        let before = server.requests();
        verify(&source, &key).await.unwrap();
        verify(&source, &key).await.unwrap();
        assert_eq!(server.requests(), before + 1, "asked once, then throttled");
    }
    clock.advance(MAX_STALE_SECONDS);
    let error = verify(&source, &key).await.unwrap_err();
    assert!(matches!(error, VerifyError::Keys(_)), "{error}");
}

#[tokio::test]
async fn a_withdrawn_key_is_gone_after_the_ttl() {
    let (old, new) = (testing::key(0), testing::key(1));
    let server = Server::start(testing::key_set(&[&old])).await;
    let (source, clock) = source(&server);
    verify(&source, &old).await.unwrap();
    server.answer(200, testing::key_set(&[&new]));
    clock.advance(DEFAULT_TTL_SECONDS);
    let error = verify(&source, &old).await.unwrap_err();
    assert!(
        matches!(error, VerifyError::Token(JwsError::UnknownKey(_))),
        "{error}"
    );
}

#[tokio::test]
async fn an_issuer_that_is_away_from_the_start_is_not_hammered() {
    let key = testing::key(0);
    let server = Server::start(String::new()).await;
    server.answer(503, "");
    let (source, clock) = source(&server);
    for _ in 0..5 {
        let error = verify(&source, &key).await.unwrap_err();
        assert!(matches!(error, VerifyError::Keys(_)), "{error}");
    }
    assert_eq!(server.requests(), 1);
    server.answer(200, testing::key_set(&[&key]));
    clock.advance(COLD_THROTTLE_SECONDS);
    verify(&source, &key).await.unwrap();
}

#[tokio::test]
async fn callers_who_waited_for_a_slow_failure_do_not_each_repeat_it() {
    let key = testing::key(0);
    let server = Server::start(String::new()).await;
    server.answer(503, "");
    let (source, clock) = source(&server);
    let callers = futures_util::future::join_all((0..10).map(|_| verify(&source, &key)));
    let time_passes = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        clock.advance(COLD_THROTTLE_SECONDS);
    };
    let (results, ()) = futures_util::future::join(callers, time_passes).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(server.requests(), 1);
}
