//! The payload of our own access tokens, read without a detour.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use vestibule_oauth::jose::{ClaimsError, Members};

/// What every token of ours says (RFC 9068 §2.2), whatever else was mapped into it.
const REGISTERED: [&str; 8] = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "jti",
    "scope",
    "iat",
    "exp",
];

/// A payload, the registered claims apart: to put all into one map and take these out again costs as much as to read them.
#[derive(Debug, Default)]
pub(super) struct Payload {
    registered: [Option<Value>; REGISTERED.len()],
    /// All others.
    pub(super) mapped: Map<String, Value>,
}

impl Payload {
    /// A registered claim, which is not there afterwards.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.registered.get_mut(place(name)?)?.take()
    }

    /// The same for one that is text and not empty.
    pub(super) fn take_text(&mut self, name: &'static str) -> Result<String, ClaimsError> {
        match self.take(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(ClaimsError::Missing(name)),
        }
    }
}

fn place(name: &str) -> Option<usize> {
    REGISTERED.iter().position(|registered| *registered == name)
}

impl Members for Payload {
    fn claim(&self, name: &str) -> Option<&Value> {
        match place(name) {
            Some(place) => self.registered.get(place)?.as_ref(),
            None => self.mapped.get(name),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Payload, A::Error> {
        let mut payload = Payload::default();
        while let Some(name) = members.next_key_seed(Name)? {
            let value = members.next_value()?;
            match name {
                Ok(place) => {
                    if let Some(registered) = payload.registered.get_mut(place) {
                        *registered = Some(value);
                    }
                }
                Err(name) => {
                    payload.mapped.insert(name, value);
                }
            }
        }
        Ok(payload)
    }
}

/// The place of a registered claim, or another name.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(place(name).ok_or_else(|| name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_registered_claim_is_found_once_and_the_others_stay_together() {
        let text = r#"{"sub":"ada","groups":["a"],"iat":7,"s\u0063ope":"x","sub":"eve","nbf":1}"#;
        let mut payload: Payload = serde_json::from_str(text).unwrap();
        assert_eq!(payload.claim("sub"), Some(&json!("eve")), "the last one");
        assert_eq!(payload.claim("nbf"), Some(&json!(1)));
        assert_eq!(payload.claim("iss"), None);
        assert_eq!(payload.take("scope"), Some(json!("x")));
        assert_eq!(payload.take("scope"), None);
        assert_eq!(payload.take("groups"), None);
        assert_eq!(payload.take_text("iat"), Err(ClaimsError::Missing("iat")));
        assert_eq!(
            Value::from(payload.mapped),
            json!({ "groups": ["a"], "nbf": 1 })
        );
        for text in ["[]", "7", "{\"a\":}", "{} {}"] {
            assert!(serde_json::from_str::<Payload>(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever a map would say of an object, this says too.
        #[test]
        fn an_object_is_read_as_a_map_reads_it(
            members in prop::collection::vec((prop::sample::select(vec!["iss", "aud", "exp", "a", "é\n", "mapped"]), 0..9_u8), 0..12)
        ) {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
            let text = format!("{{{}}}", members.join(","));
            let map: Map<String, Value> = serde_json::from_str(&text).unwrap();
            let payload: Payload = serde_json::from_str(&text).unwrap();
            for name in ["iss", "aud", "exp", "a", "é\n", "mapped", "none"] {
                prop_assert_eq!(payload.claim(name), map.get(name));
            }
        }
    }
}
