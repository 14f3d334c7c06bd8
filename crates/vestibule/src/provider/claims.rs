//! The provider's claims under our names, at sign-in and at refresh.

use serde_json::{Map, Value};

use super::{Identity, Provider};

impl Provider {
    /// The claims of our tokens. Absent ones are left out.
    pub fn map_claims(&self, identity: &Identity) -> Map<String, Value> {
        let mapped = self.claims.iter().filter_map(|mapping| {
            let value = identity
                .claims
                .get(&mapping.from)
                .filter(|value| !value.is_null())?;
            Some((mapping.name.clone(), value.clone()))
        });
        mapped.collect()
    }

    /// What to call somebody on a page: address, user name or name, else the `sub`.
    pub fn name_of<'a>(&self, identity: &'a Identity) -> &'a str {
        let names = ["email", "username", "name"].into_iter();
        let sources = names.flat_map(|name| {
            let all = self.profile.claims.iter();
            all.filter(move |(ours, _)| *ours == name)
        });
        let mut texts = sources.filter_map(|(_, from)| identity.claims.get(*from)?.as_str());
        texts
            .find(|text| !text.trim().is_empty())
            .unwrap_or(&identity.subject)
    }

    /// The same after a refresh. A claim that is gone is gone (a user left every group), except when the endpoint that
    /// has it did not answer: then it stays as it was.
    pub fn map_claims_again(
        &self,
        identity: &Identity,
        before: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut claims = self.map_claims(identity);
        if !identity.complete {
            for (name, value) in before {
                claims.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        claims
    }
}

/// The user's groups among mapped claims: a list of texts, or one text.
pub(crate) fn groups(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("groups") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_texts_and_nothing_else() {
        let of = |value: Value| {
            let claims = json!({ "groups": value });
            groups(claims.as_object().unwrap()).join("|")
        };
        assert_eq!(of(json!(["a", "b c", 7, null, ["x"]])), "a|b c");
        assert_eq!(of(json!("a,b")), "a,b");
        assert_eq!(of(json!({"a": true})), "");
        assert_eq!(of(json!(true)), "");
    }
}
