//! Reading claims as issuers write them: scopes, groups, clients, and what tells an access token from the others.

use serde_json::{Map, Value};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::url::ResourceUri;

use crate::caller::TokenRefusal;

/// Refuses what says that it is another kind of token. Introspection endpoints find refresh tokens active too
/// (RFC 7662 §4), and ID tokens have the same issuer and often the same audience (RFC 9068 §5).
pub(crate) fn is_access_token(claims: &Map<String, Value>) -> Result<(), TokenRefusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let use_is_other = claims.contains_key("token_use")
        && !matches!(text("token_use"), Some("access" | "access_token"));
    // Some issuers write the kind into the payload.
    let kind_is_other = text("typ").is_some_and(|kind| {
        ["id", "refresh", "offline", "logout"]
            .iter()
            .any(|other| kind.eq_ignore_ascii_case(other))
    });
    // OpenID Connect Core §3.1.3.6 and §3.3.2.11: only ID tokens have these.
    let has_hash = claims.contains_key("at_hash") || claims.contains_key("c_hash");
    if use_is_other || kind_is_other || has_hash {
        return Err(TokenRefusal::Malformed);
    }
    Ok(())
}

/// The first of `names` that is there and is text; empty if none is.
pub(crate) fn first_text(claims: &Map<String, Value>, names: &[&str]) -> String {
    let mut texts = names
        .iter()
        .filter_map(|name| claims.get(*name).and_then(Value::as_str));
    texts.next().unwrap_or_default().to_owned()
}

/// A text with spaces or a list, under the first of `names` that is there (RFC 9068 §2.2.3; several issuers write a list).
pub(crate) fn scope(claims: &Map<String, Value>, names: &[&str]) -> ScopeSet {
    match names.iter().find_map(|name| claims.get(*name)) {
        Some(Value::String(text)) => ScopeSet::parse(text),
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => ScopeSet::default(),
    }
}

/// Every group or role under any of `names`.
pub(crate) fn groups<N: AsRef<str>>(claims: &Map<String, Value>, names: &[N]) -> Vec<String> {
    let mut found = Vec::new();
    for name in names {
        match at(claims, name.as_ref()) {
            Some(Value::String(one)) => found.push(one.clone()),
            Some(Value::Array(several)) => {
                found.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
    found
}

/// True when `aud` is text, or a list of nothing but texts, one of which `meant` finds right (RFC 7519 §4.1.3).
pub(crate) fn names_audience(claims: &Map<String, Value>, meant: impl Fn(&str) -> bool) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => meant(one),
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string)
                && several.iter().filter_map(Value::as_str).any(meant)
        }
        _ => false,
    }
}

/// True when the token is meant for `resource`, in any of the spellings that clients use for it: a token says what its
/// client asked for (facts/mcp-authorization.md row 31).
pub(crate) fn meant_for(claims: &Map<String, Value>, resource: &ResourceUri) -> bool {
    names_audience(claims, |audience| {
        audience == resource.as_str() || resource.is_meant_by(audience)
    })
}

fn at<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else {
        return claims.get(name);
    };
    let mut steps = path.split('/');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_resource_is_meant_in_every_spelling_and_nothing_beside_it() {
        let resource = ResourceUri::parse("https://h.example/mcp").unwrap();
        for (audience, meant) in [
            (json!("https://h.example/mcp"), true),
            (json!("https://h.example/mcp/"), true),
            (json!("https://H.example:443/mcp"), true),
            (json!(["x", "https://h.example/mcp"]), true),
            (json!(["https://h.example/mcp", 1]), false),
            (json!([]), false),
            (json!({ "https://h.example/mcp": 1 }), false),
            (json!("https://h.example/MCP"), false),
            (json!("https://h.example/mcp//"), false),
            (json!("https://h.example/mcp/x"), false),
            (json!("https://h.example"), false),
            (json!("http://h.example/mcp"), false),
            (json!(null), false),
        ] {
            let claims = map(&json!({ "aud": audience }));
            assert_eq!(meant_for(&claims, &resource), meant, "{audience}");
        }
    }

    #[test]
    fn groups_are_found_at_the_top_and_below() {
        let claims = map(&json!({
            "groups": ["a", 1, "b"], "role": "c", "realm_access": { "roles": ["d"] }, "https://x/y": ["e"],
        }));
        let names = [
            "groups",
            "role",
            "/realm_access/roles",
            "/none/here",
            "https://x/y",
        ];
        assert_eq!(groups(&claims, &names), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn other_kinds_of_tokens_give_themselves_away() {
        for (claims, good) in [
            (json!({}), true),
            (json!({ "token_use": "access" }), true),
            (json!({ "token_use": "access_token" }), true),
            (json!({ "typ": "Bearer" }), true),
            (json!({ "token_use": "id" }), false),
            (json!({ "token_use": "refresh_token" }), false),
            (json!({ "token_use": 1 }), false),
            (json!({ "typ": "Refresh" }), false),
            (json!({ "typ": "ID" }), false),
            (json!({ "typ": "Offline" }), false),
            (json!({ "at_hash": "x" }), false),
            (json!({ "c_hash": "x" }), false),
        ] {
            assert_eq!(is_access_token(&map(&claims)).is_ok(), good, "{claims}");
        }
    }
}
