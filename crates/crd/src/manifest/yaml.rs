//! JSON written as block YAML: stable order, one field a line, so that differences read well.

use serde_json::Value;

/// A value as a YAML document, without a `---`.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Writes a value whose first line begins at the current position of the text.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (number, (key, value)) in map.iter().enumerate() {
                if number > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str(&scalar(key));
                text.push(':');
                nested(value, indent + 2, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push_str(&" ".repeat(indent));
                }
                text.push_str("- ");
                block(item, indent + 2, text);
            }
        }
        leaf => {
            text.push_str(&flow(leaf));
            text.push('\n');
        }
    }
}

/// Writes what stands behind a key.
fn nested(value: &Value, indent: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        text.push_str(&" ".repeat(indent));
    } else {
        text.push(' ');
    }
    block(value, indent, text);
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(string) => scalar(string),
        other => other.to_string(),
    }
}

/// A text without quotes where YAML reads it as a text all the same, in JSON's quotes elsewhere.
fn scalar(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._/-".contains(character);
    let begins = text.starts_with(|character: char| character.is_ascii_alphabetic());
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_word = words.contains(&text.to_ascii_lowercase().as_str());
    if begins && text.chars().all(plain) && !is_word {
        text.to_owned()
    } else {
        // Every JSON text is a YAML text in double quotes.
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_are_indented() {
        let value = json!({
            "a": {"b": [1, {"c": "x y", "d": []}, [true, null]]},
            "e": {},
            "f.g/h": "no",
        });
        let text = "a:\n  b:\n    - 1\n    - c: \"x y\"\n      d: []\n    - - true\n      - null\n\
                    e: {}\nf.g/h: \"no\"\n";
        assert_eq!(to_yaml(&value), text);
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        for text in ["", "1", "1e3", "null", "Yes", "a: b", "- a", "#", "a\nb", "ä", "~", "0x1f"] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        assert_eq!(scalar("metadata.name"), "metadata.name");
    }
}
