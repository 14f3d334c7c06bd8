//! Tests of the pages as text: what is escaped, which words stand there, what a program gets.

use super::*;
use crate::pages::texts::JAPANESE;

fn html(page: &Page, texts: &'static Texts) -> String {
    let mut response = Response::default();
    write(&mut response, page, Wanted { json: false, texts });
    assert_eq!(response.status(), StatusCode::OK);
    let body = std::mem::take(response.body_mut());
    let bytes = futures_util::FutureExt::now_or_never(axum::body::to_bytes(body, usize::MAX));
    String::from_utf8(bytes.unwrap().unwrap().to_vec()).unwrap()
}

fn consent() -> ConsentPage {
    ConsentPage {
        client_name: Some("</q><script>alert(1)</script>".to_owned()),
        verified: false,
        document_host: None,
        resource: "Demo".to_owned(),
        redirect_host: "localhost:1".to_owned(),
        redirect_uri: "http://localhost:1/'\"><b>".to_owned(),
        loopback: true,
        carry: true,
        private_use: false,
        scopes: vec![
            ScopeLine::new("read", Some("Read <i>your</i> files")),
            ScopeLine::new("write", None),
        ],
        providers: Vec::new(),
        remember_days: None,
        account: None,
        ticket: "vct_x".to_owned(),
    }
}

fn answer(way: Way) -> Page {
    Page::Answer(AnswerPage {
        outcome: Outcome::Refused("\"><script>".to_owned()),
        way,
        location: "cursor://a/b?code=c&state='\"<>".to_owned(),
        host: "cursor".to_owned(),
    })
}

#[test]
fn markup_in_what_a_client_says_stays_text() {
    for texts in [&ENGLISH, &JAPANESE] {
        let pages = [
            Page::Consent(consent()),
            answer(Way::Click),
            answer(Way::Launch),
            answer(Way::Carry("curl \"<script>\"".to_owned())),
        ];
        for page in &pages {
            let html = html(page, texts);
            for never in ["<script", "<b>", "<i>", "state='"] {
                assert!(!html.contains(never), "{never}: {html}");
            }
        }
    }
}

#[test]
fn scopes_are_in_words_where_there_are_words() {
    let html = html(&Page::Consent(consent()), &ENGLISH);
    assert!(html.contains(
        "Read &#60;i&#62;your&#60;/i&#62; files <span class=\"quiet\">(<code>read</code>)</span>"
    ));
    assert!(html.contains("<li><code>write</code></li>"));
}

#[test]
fn the_box_for_another_computer_is_there_only_where_it_is_offered() {
    let on = |carry| {
        let page = ConsentPage { carry, ..consent() };
        html(&Page::Consent(page), &ENGLISH).contains("name=\"elsewhere\"")
    };
    assert!(on(true));
    assert!(!on(false));
}

#[test]
fn a_page_says_which_language_it_is_in() {
    let refusal = |slug| {
        Page::Refusal(RefusalPage {
            title: "Title".to_owned(),
            explanation: "Explanation.".to_owned(),
            next_step: "Next.".to_owned(),
            reference: "r".to_owned(),
            slug,
        })
    };
    let known = html(&refusal("client_unknown"), &JAPANESE);
    assert!(known.contains("<html lang=\"ja\">") && !known.contains("Title"));
    assert!(known.contains("Reference: <code>r</code>"));
    // No sentence of one language in a page of the other.
    let unknown = html(&refusal("something_new"), &JAPANESE);
    assert!(unknown.contains("<html lang=\"en\">") && unknown.contains("<h1>Title</h1>"));
    assert!(html(&Page::Consent(consent()), &JAPANESE).contains("<html lang=\"ja\">"));
}

#[test]
fn only_a_launch_goes_by_itself() {
    for (way, goes) in [
        (Way::Click, false),
        (Way::Launch, true),
        (Way::Carry("curl".to_owned()), false),
    ] {
        let html = html(&answer(way), &ENGLISH);
        assert_eq!(html.contains("http-equiv=\"refresh\""), goes);
    }
}

#[test]
fn the_twin_has_four_members() {
    let page = Page::Refusal(RefusalPage {
        title: "It happened".to_owned(),
        explanation: "Because.".to_owned(),
        next_step: "Do this.".to_owned(),
        reference: "r".to_owned(),
        slug: "why",
    });
    let mut response = respond(StatusCode::FORBIDDEN, page.clone());
    write(
        &mut response,
        &page,
        Wanted {
            json: true,
            texts: &JAPANESE,
        },
    );
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body = std::mem::take(response.body_mut());
    let bytes = futures_util::FutureExt::now_or_never(axum::body::to_bytes(body, usize::MAX));
    let value: serde_json::Value = serde_json::from_slice(&bytes.unwrap().unwrap()).unwrap();
    let expected = json!({
        "error": "why",
        "error_description": "It happened. Because.",
        "reference": "r",
        "next_step": "Do this.",
    });
    assert_eq!(value, expected);
}

#[test]
fn every_refusal_has_words_in_japanese() {
    // A slug stands on a line of its own, as the last of the five things that make a refusal.
    let sources = [
        include_str!("../authorization_server/authorize.rs"),
        include_str!("../authorization_server/callback.rs"),
        include_str!("../authorization_server/connections/error.rs"),
        include_str!("../authorization_server/consent.rs"),
        include_str!("../authorization_server/logout.rs"),
    ];
    let mut count = 0;
    for line in sources.iter().flat_map(|source| source.lines()) {
        let Some(slug) = line
            .trim()
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix("\","))
        else {
            continue;
        };
        let is_slug =
            slug.contains('_') && slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if is_slug {
            assert!((JAPANESE.refusal)(slug).is_some(), "no Japanese for {slug}");
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} refusals were found");
}
