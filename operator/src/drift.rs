//! Whether an object is as it was applied: every field that is set says what it should, whatever others have added.

use hcube_crd::Amount;
use serde_json::Value;

/// Whether the live object differs in what is wished for.
#[must_use]
pub fn differs(wished: &Value, live: &Value) -> bool {
    match (wished, live) {
        (Value::Object(wished), Value::Object(live)) => {
            wished.iter().any(|(key, value)| match live.get(key) {
                Some(live) => differs(value, live),
                // An empty object or list that is not there says the same.
                None => !is_nothing(value),
            })
        }
        (Value::Array(wished), Value::Array(live)) => lists_differ(wished, live),
        (Value::String(wished), Value::String(live)) => wished != live && !is_same_amount(wished, live),
        (wished, live) => wished != live,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Lists of named things are compared by name, because others may add to them; all others by position.
fn lists_differ(wished: &[Value], live: &[Value]) -> bool {
    let named = |items: &[Value]| items.iter().all(|item| item["name"].is_string());
    if named(wished) && named(live) {
        return wished.iter().any(|wished| {
            let live = live.iter().find(|live| live["name"] == wished["name"]);
            live.is_none_or(|live| differs(wished, live))
        });
    }
    wished.len() != live.len() || wished.iter().zip(live).any(|(wished, live)| differs(wished, live))
}

/// The API server writes amounts in its own way.
fn is_same_amount(one: &str, two: &str) -> bool {
    Amount::from(one).compare(&Amount::from(two)) == Some(std::cmp::Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_difference() {
        let wished = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {"replicas": 3, "containers": [{"name": "x", "resources": {}, "cpu": "0.05"}], "none": []},
        });
        let live = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "uid": "u"},
            "spec": {
                "replicas": 3,
                "containers": [{"name": "sidecar"}, {"name": "x", "cpu": "50m", "default": true}],
            },
            "status": {},
        });
        assert!(!differs(&wished, &live));
    }

    #[test]
    fn what_was_changed_or_taken_away_is() {
        let wished =
            json!({"spec": {"replicas": 3, "ports": [{"port": 1}], "env": [{"name": "a", "value": "b"}]}});
        assert!(!differs(&wished, &wished));
        for live in [
            json!({"spec": {"replicas": 2, "ports": [{"port": 1}], "env": [{"name": "a", "value": "b"}]}}),
            json!({"spec": {"replicas": 3, "ports": [], "env": [{"name": "a", "value": "b"}]}}),
            json!({"spec": {"replicas": 3, "ports": [{"port": 1}, {"port": 2}], "env": [{"name": "a", "value": "b"}]}}),
            json!({"spec": {"replicas": 3, "ports": [{"port": 1}], "env": [{"name": "a", "value": "c"}]}}),
            json!({"spec": {"replicas": 3, "ports": [{"port": 1}], "env": []}}),
            json!({"spec": {"replicas": 3, "env": [{"name": "a", "value": "b"}]}}),
        ] {
            assert!(differs(&wished, &live), "{live}");
        }
    }
}
