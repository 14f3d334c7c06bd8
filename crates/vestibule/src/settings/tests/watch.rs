//! `[metrics]` and `[audit]`: off unless written, and not where others listen.

use super::*;

fn read_with(text: &str) -> Result<Settings, SettingsError> {
    with("", "", "", text)
}

#[test]
fn metrics_are_off_unless_there_is_an_address_of_their_own() {
    assert_eq!(read_with("").unwrap().metrics, None);
    assert_eq!(read_with("[metrics]").unwrap().metrics, None);
    let listen = |address: &str| read_with(&format!("[metrics]\nlisten = \"{address}\"\n"));
    let settings = listen("127.0.0.1:9464").unwrap();
    let expected = MetricsSettings {
        listen: ([127, 0, 0, 1], 9464).into(),
    };
    assert_eq!(settings.metrics, Some(expected));
    assert!(settings.notes.iter().all(|note| !note.contains("metrics")));
    refused(
        listen("9464"),
        &["metrics.listen", "is not an address and port"],
    );
    refused(
        listen("127.0.0.1:8080"),
        &["metrics.listen", "is in `server.listen` as well"],
    );
    let token = "0123456789abcdef0123456789abcdef";
    let both = format!("[admin]\ntoken = \"{token}\"\n[metrics]\nlisten = \"127.0.0.1:8081\"\n");
    refused(
        read_with(&both),
        &["metrics.listen", "is in `admin.listen` as well"],
    );
}

#[test]
fn metrics_that_others_can_reach_are_allowed_with_a_word() {
    let settings = read_with("[metrics]\nlisten = \"0.0.0.0:9464\"\n").unwrap();
    let said = settings.notes.join("\n");
    assert!(
        said.contains("0.0.0.0:9464") && said.contains("network policy"),
        "{said}"
    );
}

#[test]
fn the_audit_stream_is_off_unless_it_has_a_place() {
    assert_eq!(read_with("").unwrap().audit, None);
    let to = |place: &str| {
        let settings = read_with(&format!("[audit]\nto = \"{place}\"\n")).unwrap();
        settings.audit.unwrap()
    };
    assert_eq!(to("stdout"), AuditSettings::new(AuditSink::Stdout));
    assert_eq!(to("stderr").to, AuditSink::Stderr);
    assert!(matches!(to("/var/log/audit.log").to, AuditSink::File(_)));
    let key = "0123456789abcdef0123456789abcdef";
    for lost in [
        format!("subject_key = \"{key}\""),
        "calls = \"all\"".to_owned(),
    ] {
        refused(
            read_with(&format!("[audit]\n{lost}\n")),
            &["audit.to", "missing"],
        );
    }
    refused(
        read_with("[audit]\nto = \"stdout\"\nsubject_key = \"short\"\n"),
        &["audit.subject_key", "can be guessed"],
    );
    refused(
        read_with("[audit]\nto = \"stdout\"\ncalls = \"some\"\n"),
        &["audit.calls"],
    );
    let text = format!("[audit]\nto = \"stdout\"\nsubject_key = \"{key}\"\ncalls = \"all\"\n");
    let audit = read_with(&text).unwrap().audit.unwrap();
    assert!(audit.every_call && audit.subject_key.is_some());
}
