//! The ring as text: there and back, older spellings, and what is no ring.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vestibule_oauth::random::SystemRandom;

use super::*;

fn ring() -> KeyRing {
    KeyRing::generate(&SigningAlg::ALL, UnixTime(1_795_000_000), &SystemRandom).unwrap()
}

#[test]
fn what_is_written_is_read_again_and_its_keys_can_sign() {
    let ring = ring();
    let again = KeyRing::parse(ring.to_toml().expose()).unwrap();
    assert_eq!(again.sealing.len(), 1);
    assert_eq!(again.sealing[0].id, ring.sealing[0].id);
    assert_eq!(again.sealing[0].secret, ring.sealing[0].secret);
    assert_eq!(
        again.sealing[0].life,
        Life::current(UnixTime(1_795_000_000))
    );
    for alg in SigningAlg::ALL {
        let entry = again.current_signing(alg).unwrap();
        let key = entry.key().unwrap();
        assert!(key.sign("JWT", &serde_json::Map::new()).is_ok(), "{alg}");
    }
}

#[test]
fn pem_has_64_columns() {
    let pem = ring()
        .current_signing(SigningAlg::Rs256)
        .unwrap()
        .pem
        .clone();
    let lines: Vec<&str> = pem.expose().lines().collect();
    assert_eq!(lines.first(), Some(&"-----BEGIN PRIVATE KEY-----"));
    assert_eq!(lines.last(), Some(&"-----END PRIVATE KEY-----"));
    assert!(
        lines[1..lines.len() - 2]
            .iter()
            .all(|line| line.len() == 64)
    );
}

#[test]
fn no_key_shows_in_debug_output() {
    let ring = ring();
    let shown = format!("{ring:?}");
    let secret = URL_SAFE_NO_PAD.encode(ring.sealing[0].secret.as_slice());
    assert!(
        !shown.contains(&secret) && !shown.contains("PRIVATE"),
        "{shown}"
    );
    assert!(shown.contains(&ring.sealing[0].id_text()));
}

#[test]
fn a_broken_ring_is_refused_without_showing_its_keys() {
    let good = ring().to_toml().expose().to_owned();
    let line = |start: &str| good.lines().find(|line| line.starts_with(start)).unwrap();
    let (secret_line, id_line) = (line("secret"), line("id"));
    let secret = secret_line
        .trim_start_matches("secret = ")
        .trim_matches('"');
    let (before_signing, signing) = good.split_once("\n[[signing]]").unwrap();
    let signing = format!("\n[[signing]]{signing}");
    let (_, sealing) = before_signing.split_once("\n[[sealing]]").unwrap();
    for (broken, says) in [
        (
            good.replace(secret_line, &format!("secret = \"{secret}")),
            "line 10",
        ),
        (
            good.replace(id_line, "id = \"xyz\""),
            "eight hexadecimal digits",
        ),
        (
            good.replace(id_line, &format!("id = \"{secret}\"")),
            "eight hexadecimal digits",
        ),
        (
            good.replace(secret_line, "secret = \"c2hvcnQ\""),
            "32 bytes",
        ),
        (
            good.replace("created = 1", &format!("created = \"{secret}\" #")),
            "not the kind of value",
        ),
        (good.replace("alg = \"RS256\"", "alg = \"HS256\""), "HS256"),
        (good.replace("\n[[signing]]", "\n[[singing]]"), "singing"),
        (before_signing.to_owned(), "no [[signing]] key"),
        (
            format!("{before_signing}{}", signing.replace("current", "next")),
            "no [[signing]] key is current",
        ),
        (
            format!("{good}\n[[sealing]]{}", sealing.replace("current", "next")).replacen(
                "\"current\"",
                "\"next\"",
                1,
            ),
            "exactly one current",
        ),
        (String::new(), "no [[sealing]] key"),
        (
            format!(
                "{good}\n[[sealing]]{}",
                sealing.replace("current", "previous")
            ),
            "two [[sealing]] keys",
        ),
        (
            format!("{good}\n[[sealing]]{sealing}"),
            "exactly one current",
        ),
        (
            good.replace("\"current\"", "\"previous\""),
            "exactly one current",
        ),
        (good.replace("\"current\"", "\"retired\""), "retired"),
        (
            format!(
                "{good}\n[[sealing]]{}",
                sealing.replace("state = \"current\"\n", "")
            ),
            "some have none",
        ),
        (
            format!(
                "{good}\n[[retired]]\nalg = \"ES256\"\ncreated = 1\nsince = 2\njwk = '{{\"kty\":\"oct\",\"kid\":\"x\",\"k\":\"{secret}\"}}'\n"
            ),
            "no public key",
        ),
    ] {
        let error = KeyRing::parse(&broken).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
}

/// Rings that were written before there were states go by the order, current first.
#[test]
fn a_ring_of_before_there_were_states_goes_by_its_order() {
    use KeyState::{Current, Next, Previous};
    let key = |n: u8, created: u64| {
        let secret = URL_SAFE_NO_PAD.encode([n; 32]);
        format!("[[sealing]]\nid = \"0000000{n}\"\ncreated = {created}\nsecret = \"{secret}\"\n")
    };
    let written = ring().to_toml().expose().to_owned();
    let (_, signing) = written.split_once("\n[[signing]]").unwrap();
    let written = format!("[[signing]]{signing}\n");
    let lines = written.split_inclusive('\n');
    let signing: String = lines
        .filter(|line| !line.starts_with("state") && !line.starts_with("since"))
        .collect();
    let read = |keys: &[String]| {
        let ring = KeyRing::parse(&format!("{}{signing}", keys.concat())).unwrap();
        assert_eq!(ring.signing.len(), SigningAlg::ALL.len());
        let keys = ring.sealing.iter();
        keys.map(|key| (key.id[3], key.life.state))
            .collect::<Vec<_>>()
    };
    assert_eq!(read(&[key(1, 5)]), [(1, Current)]);
    // New keys in front: rotated by hand.
    assert_eq!(read(&[key(2, 9), key(1, 5)]), [(2, Current), (1, Previous)]);
    // Behind: published by hand.
    assert_eq!(
        read(&[key(2, 5), key(1, 1), key(3, 9)]),
        [(2, Current), (3, Next), (1, Previous)]
    );
}
