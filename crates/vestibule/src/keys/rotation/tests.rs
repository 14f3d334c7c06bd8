//! Steps, their times and their order; what an emergency leaves.

use vestibule_oauth::random::SystemRandom;

use super::*;

const START: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 24 * 3600;

fn ring() -> KeyRing {
    KeyRing::generate(
        &[SigningAlg::Es256, SigningAlg::EdDsa],
        START,
        &SystemRandom,
    )
    .unwrap()
}

fn rotate(ring: &KeyRing, when: When, now: UnixTime) -> (KeyRing, Vec<Step>) {
    let rotated = ring.rotate(&Schedule::default(), when, now, &SystemRandom);
    let (rotated, steps) = rotated.unwrap();
    // What is written can be read, and means the same.
    let again = KeyRing::parse(rotated.to_toml().expose()).unwrap();
    assert_eq!(again.to_toml(), rotated.to_toml());
    (rotated, steps.into_iter().map(|step| step.step).collect())
}

fn states(ring: &KeyRing) -> (Vec<KeyState>, Vec<KeyState>, usize) {
    (
        ring.sealing.iter().map(|key| key.life.state).collect(),
        ring.signing.iter().map(|key| key.life.state).collect(),
        ring.retired.len(),
    )
}

#[test]
fn a_daily_run_takes_each_step_when_it_is_due_and_no_other() {
    use KeyState::{Current, Next, Previous};
    let mut ring = ring();
    let mut seen = Vec::new();
    for day in 0..=94 {
        let now = START.plus(day * DAY);
        let (rotated, steps) = rotate(&ring, When::Due, now);
        let (again, none) = rotate(&rotated, When::Due, now);
        assert!(none.is_empty(), "twice on day {day}");
        assert_eq!(again.to_toml(), rotated.to_toml(), "changed without a step");
        if !steps.is_empty() {
            seen.push((day, steps[0], states(&rotated)));
        }
        ring = rotated;
    }
    let published = (vec![Current, Next], vec![Current, Current, Next, Next], 0);
    let promoted = (
        vec![Current, Previous],
        vec![Current, Current, Previous, Previous],
        0,
    );
    let retired = (vec![Current, Previous], vec![Current, Current], 2);
    let forgotten = (vec![Current, Previous], vec![Current, Current], 0);
    assert_eq!(
        seen,
        [
            (90, Step::Publish, published),
            (91, Step::Promote, promoted),
            (92, Step::Retire, retired),
            (94, Step::Forget, forgotten),
        ]
    );
}

#[test]
fn a_key_is_not_promoted_before_every_verifier_had_time_to_read_it() {
    let (published, _) = rotate(&ring(), When::Now, START);
    let early = START.plus(DEFAULT_PROPAGATION - 1);
    assert!(rotate(&published, When::Due, early).1.is_empty());
    let due = START.plus(DEFAULT_PROPAGATION);
    assert_eq!(rotate(&published, When::Due, due).1, [Step::Promote; 3]);
    const { assert!(DEFAULT_PROPAGATION > MIN_PROPAGATION && MIN_PROPAGATION > JWKS_MAX_AGE) };
}

#[test]
fn now_takes_one_step_at_a_time_and_never_forgets_a_key_with_live_tokens() {
    let mut ring = ring();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (rotated, steps) = rotate(&ring, When::Now, START.plus(1));
        ring = rotated;
        seen.push(steps[0]);
    }
    assert_eq!(
        seen,
        [Step::Publish, Step::Promote, Step::Retire, Step::Publish]
    );
    assert_eq!(ring.retired.len(), 2);
}

#[test]
fn a_published_key_without_a_date_waits_from_the_first_run_on() {
    let (mut published, _) = rotate(&ring(), When::Now, START);
    for key in &mut published.sealing {
        key.life.since = None;
    }
    assert!(published.lacks_dates());
    let later = START.plus(DAY);
    let (dated, steps) = rotate(&published, When::Due, later);
    assert_eq!(steps, [Step::Promote; 2], "the signing keys have dates");
    assert!(!dated.lacks_dates());
    assert_eq!(dated.sealing[1].life.since, Some(later));
    let (_, steps) = rotate(&dated, When::Due, later.plus(DEFAULT_PROPAGATION));
    assert_eq!(steps[..], [Step::Promote, Step::Retire, Step::Retire]);
}

#[test]
fn a_retired_key_is_public_only() {
    let mut ring = ring();
    let old = ring.signing[0].pem.clone();
    let kid = ring.signing[0].key().unwrap().kid().to_owned();
    for _ in 0..3 {
        ring = rotate(&ring, When::Now, START.plus(1)).0;
    }
    let text = ring.to_toml();
    let line = old.expose().lines().nth(1).unwrap();
    assert!(
        !text.expose().contains(line),
        "the private key is still there"
    );
    assert!(ring.retired.iter().any(|key| key.kid() == kid));
    assert!(ring.retired.iter().all(|key| key.jwk.get("d").is_none()));
}

#[test]
fn an_emergency_keeps_nothing_that_somebody_else_may_have() {
    let mut old = ring();
    for _ in 0..3 {
        old = rotate(&old, When::Now, START).0;
    }
    let replaced = |what| old.replace(what, START, &SystemRandom).unwrap();
    let ids = |ring: &KeyRing| ring.sealing.iter().map(|key| key.id).collect::<Vec<_>>();
    let kids = |ring: &KeyRing| {
        let own = ring
            .signing
            .iter()
            .map(|key| key.key().unwrap().kid().to_owned());
        let retired = ring.retired.iter().map(|key| key.kid().to_owned());
        own.chain(retired).collect::<Vec<_>>()
    };
    let (all, sealing, signing) = (
        replaced(Compromised::All),
        replaced(Compromised::Sealing),
        replaced(Compromised::Signing),
    );
    for (ring, sealing_new, signing_new) in [
        (&all, true, true),
        (&sealing, true, false),
        (&signing, false, true),
    ] {
        let kept = ids(ring).iter().any(|id| ids(&old).contains(id));
        assert_eq!(kept, !sealing_new);
        let kept = kids(ring).iter().any(|kid| kids(&old).contains(kid));
        assert_eq!(kept, !signing_new);
        for alg in [SigningAlg::Es256, SigningAlg::EdDsa] {
            assert!(ring.current_signing(alg).is_some(), "{alg}");
        }
    }
}

#[test]
fn only_previous_sealing_keys_can_be_dropped() {
    let mut ring = ring();
    for _ in 0..4 {
        ring = rotate(&ring, When::Now, START).0;
    }
    let ids: Vec<_> = ring.sealing.iter().map(SealingKey::id_text).collect();
    let [current, next, previous] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    for (id, says) in [
        (current.as_str(), "current"),
        (next, "next"),
        ("ffffffff", "no sealing key"),
    ] {
        let error = ring.clone().drop_sealing(&[id.to_owned()]).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut named = ring.clone();
    let gone = named.drop_sealing(std::slice::from_ref(previous)).unwrap();
    assert_eq!(gone, std::slice::from_ref(previous));
    assert_eq!(named.sealing.len(), 2);
    let gone = ring.drop_sealing(&[]).unwrap();
    assert_eq!(gone, std::slice::from_ref(previous));
}

#[test]
fn a_new_algorithm_is_known_to_every_verifier_before_anything_is_signed_with_it() {
    let mut ring = KeyRing::generate(&[SigningAlg::Es256], START, &SystemRandom).unwrap();
    let id = ring.add(SigningAlg::EdDsa, START).unwrap();
    let written = KeyRing::parse(ring.to_toml().expose()).unwrap();
    assert_eq!(written.to_toml(), ring.to_toml());
    assert!(ring.current_signing(SigningAlg::EdDsa).is_none());
    let error = ring.add(SigningAlg::EdDsa, START).unwrap_err();
    assert!(error.to_string().contains("keys rotate"), "{error}");
    let early = START.plus(DEFAULT_PROPAGATION - 1);
    assert!(rotate(&ring, When::Due, early).1.is_empty());
    let plan = ring.plan(&Schedule::default(), START).unwrap();
    assert_eq!(
        (plan[0].step, plan[0].key.as_str()),
        (Step::Promote, id.as_str())
    );
    let due = START.plus(DEFAULT_PROPAGATION);
    let (promoted, steps) = rotate(&ring, When::Due, due);
    assert_eq!(steps, [Step::Promote]);
    let current = promoted.current_signing(SigningAlg::EdDsa).unwrap();
    assert_eq!(current.key().unwrap().kid(), id);
    // From then on it is a line like every other.
    let (next, steps) = rotate(&promoted, When::Due, due.plus(DEFAULT_AFTER));
    assert_eq!(steps, [Step::Publish; 3]);
    assert_eq!(next.signing.len(), 4);
    // In an emergency it is not forgotten.
    let replaced = ring
        .replace(Compromised::All, START, &SystemRandom)
        .unwrap();
    assert!(replaced.current_signing(SigningAlg::EdDsa).is_some());
}
