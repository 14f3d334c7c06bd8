//! JSON as Cedar values. Built value by value: Cedar's own reading of JSON has escapes (`__entity`, `__extn`) with which a
//! client could write any entity into its arguments.

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Number, Value};

/// No arguments.
pub(super) fn empty() -> RestrictedExpression {
    record(Vec::new())
}

/// The arguments of a call, whole: what cannot be told to the policies cannot be decided on.
pub(super) fn of_arguments(arguments: &Value) -> Result<RestrictedExpression, String> {
    match arguments {
        Value::Null => Ok(empty()),
        Value::Object(object) => of_object(object).ok_or_else(|| {
            "an argument has no value in Cedar: a number beyond 64 bits or four decimals, or keys that differ in case only"
                .to_owned()
        }),
        _ => Err("the arguments are no object".to_owned()),
    }
}

/// A claim; `None` for what Cedar has no value for.
pub(super) fn of_claim(claim: &Value) -> Option<RestrictedExpression> {
    of(claim)
}

/// A claim as a tag, which is text: lists as JSON.
pub(super) fn tag(claim: &Value) -> Option<RestrictedExpression> {
    let text = match claim {
        Value::String(text) => text.clone(),
        Value::Null => return None,
        other => other.to_string(),
    };
    Some(RestrictedExpression::new_string(text))
}

fn of(value: &Value) -> Option<RestrictedExpression> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => RestrictedExpression::new_bool(*flag),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(number) => of_number(number)?,
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(of).collect();
            RestrictedExpression::new_set(items?)
        }
        Value::Object(object) => of_object(object)?,
    })
}

fn of_object(object: &Map<String, Value>) -> Option<RestrictedExpression> {
    // Some servers read keys without regard to case, and would find another value than the policies.
    let mut folded: Vec<String> = object.keys().map(|key| key.to_lowercase()).collect();
    folded.sort_unstable();
    if folded.windows(2).any(|pair| pair.first() == pair.last()) {
        return None;
    }
    // `null` is how clients leave something out.
    let given = object.iter().filter(|(_, value)| !value.is_null());
    let pairs: Option<Vec<_>> = given
        .map(|(key, value)| Some((key.clone(), of(value)?)))
        .collect();
    Some(record(pairs?))
}

fn record(pairs: Vec<(String, RestrictedExpression)>) -> RestrictedExpression {
    RestrictedExpression::new_record(pairs)
        .unwrap_or_else(|_| RestrictedExpression::new_set(Vec::new()))
}

/// Whole numbers are Cedar's `Long`; others a `decimal`, if that has the same value.
fn of_number(number: &Number) -> Option<RestrictedExpression> {
    if let Some(whole) = number.as_i64() {
        return Some(RestrictedExpression::new_long(whole));
    }
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let mut text = float.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    let (whole, decimals) = text.split_once('.')?;
    let fits = decimals.len() <= 4 && whole.trim_start_matches('-').len() <= 14;
    fits.then(|| RestrictedExpression::new_decimal(text.clone()))
}
