//! Reads the arguments that vLLM logs as the `repr` of a Python dictionary, and compares them with a server's
//! flags.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    manifest::{Flag, Flags, expand_home, scalar_text},
    server::command::is_address,
};

/// A dictionary with string keys. A value that is no plain data is `None`.
pub(in crate::server) type Object = BTreeMap<String, Option<Value>>;

/// Reads `{'port': 8000, 'enforce_eager': True, …}`; `None` when the text is something else.
pub(super) fn object(text: &str) -> Option<Object> {
    Parser { rest: text.trim(), depth: 0 }.dictionary()
}

/// Limit on nesting; no argument of a server is deeper.
const MAX_DEPTH: u32 = 32;

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl Parser<'_> {
    fn eat(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn dictionary(&mut self) -> Option<Object> {
        if !self.eat('{') {
            return None;
        }
        let mut object = Object::new();
        while !self.eat('}') {
            let Some(Value::String(key)) = self.value()? else {
                return None;
            };
            if !self.eat(':') {
                return None;
            }
            object.insert(key, self.value()?);
            self.eat(',');
        }
        Some(object)
    }

    /// The outer `None` means that the text is no repr, the inner one that the value is no plain data.
    fn value(&mut self) -> Option<Option<Value>> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = self.value_starting_with(first);
        self.depth -= 1;
        value
    }

    fn value_starting_with(&mut self, first: char) -> Option<Option<Value>> {
        match first {
            '\'' | '"' => self.string(first).map(|text| Some(Value::String(text))),
            '{' => {
                let inner = self.dictionary()?;
                let plain: Option<serde_json::Map<String, Value>> =
                    inner.into_iter().map(|(key, value)| Some((key, value?))).collect();
                Some(plain.map(Value::Object))
            }
            '[' | '(' => {
                let close = if first == '[' { ']' } else { ')' };
                self.eat(first);
                let mut items = Some(Vec::new());
                while !self.eat(close) {
                    let item = self.value()?;
                    if let (Some(list), Some(item)) = (&mut items, &item) {
                        list.push(item.clone());
                    } else {
                        items = None;
                    }
                    self.eat(',');
                }
                Some(items.map(Value::Array))
            }
            ',' | ':' | '}' | ']' | ')' => None,
            _ => Some(self.word()),
        }
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Some(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                escape @ ('x' | 'u' | 'U') => {
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let hex: Option<String> =
                        (0..digits).map(|_| chars.next().map(|(_, digit)| digit)).collect();
                    text.push(char::from_u32(u32::from_str_radix(&hex?, 16).ok()?)?);
                }
                other => text.push(other),
            }
        }
        None
    }

    /// A number, a constant, or the repr of an object, which may itself hold brackets.
    fn word(&mut self) -> Option<Value> {
        let mut depth = 0_i32;
        let end = self
            .rest
            .char_indices()
            .find(|(_, c)| {
                match c {
                    '(' | '[' | '{' | '<' => depth += 1,
                    ')' | ']' | '}' | '>' if depth > 0 => depth -= 1,
                    ',' | '}' | ']' | ')' if depth == 0 => return true,
                    _ => {}
                }
                false
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let word = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        match word {
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "None" => Some(Value::Null),
            number => serde_json::from_str(number).ok().filter(Value::is_number),
        }
    }
}

/// What vLLM logs instead of a secret value.
const REDACTED: &str = "***";

/// Describes the first flag whose logged value differs from ours. A flag that is not logged has its default,
/// which may be ours, and a value that is logged in another form contradicts nothing.
pub(in crate::server) fn contradiction(flags: &Flags, logged: &Object) -> Option<String> {
    flags.0.iter().find_map(|(name, flag)| {
        // The launch decides where the server listens, not the manifest.
        if is_address(name) {
            return None;
        }
        let value = logged.get(&name.replace('-', "_"))?.as_ref()?;
        let same = match flag {
            Flag::Unset => true,
            Flag::On => *value != Value::Bool(false),
            Flag::Off => *value != Value::Bool(true),
            Flag::Value(ours) => same(ours, value),
            Flag::Many(ours) => same(&Value::Array(ours.clone()), value),
            Flag::Json(ours) => same(&Value::Object(ours.clone()), value),
        };
        (!same).then(|| {
            format!(
                "the log shows {name} = {value}, not {}; either the engine changed the flag, or this is another server's log",
                flag.to_value()
            )
        })
    })
}

/// Whether vLLM may have logged this value for a flag: it reads `4K` as 4096, `8` as a number and one word as
/// a list of one, and adds defaults to tables.
fn same(ours: &Value, logged: &Value) -> bool {
    match (ours, logged) {
        (_, Value::String(text)) if text == REDACTED => true,
        (Value::Array(ours), Value::Array(logged)) => {
            ours.len() == logged.len() && ours.iter().zip(logged).all(|(a, b)| same(a, b))
        }
        (Value::Array(ours), one) | (one, Value::Array(ours)) if ours.len() == 1 => same(&ours[0], one),
        (Value::Object(ours), Value::Object(logged)) => {
            ours.iter().all(|(key, value)| logged.get(key).is_none_or(|other| same(value, other)))
        }
        (_, Value::Number(number)) => match (amount(&scalar_text(ours)), number.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
            // A word such as `auto` stands for a number that the engine chooses.
            _ => !ours.is_number(),
        },
        (Value::String(_) | Value::Number(_), Value::String(text)) => {
            let ours = scalar_text(ours);
            ours == *text || expand_home(&ours) == *text
        }
        _ => true,
    }
}

/// A number as vLLM's command line reads it: `4k` is 4000 and `4K` is 4096.
fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, factor) = match text.char_indices().last()? {
        (at, unit @ ('k' | 'm' | 'g' | 't')) => (&text[..at], 1000_f64.powi(1 + "kmgt".find(unit)? as i32)),
        (at, unit @ ('K' | 'M' | 'G' | 'T')) => (&text[..at], 1024_f64.powi(1 + "KMGT".find(unit)? as i32)),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_logged_dictionary_is_read_and_compared() {
        let logged = object(
            "{'model': '/m', 'port': 18001, 'enforce_eager': True, 'names': ['tiny'], 'x': None, 'kv': <Enum.A: 'a'>, 'f': 0.8, 'c': Config(a=[1, 2], b={'x': 1}), 'o': {'a': 1}}",
        )
        .unwrap();
        assert_eq!(logged["port"], Some(json!(18001)));
        assert_eq!(logged["names"], Some(json!(["tiny"])));
        assert_eq!(logged["kv"], None);
        assert_eq!(logged["c"], None);
        assert_eq!(logged["o"], Some(json!({"a": 1})));
        let flags: Flags = serde_json::from_value(
            json!({ "enforce-eager": true, "names": "tiny", "f": 0.8, "other": 3, "o": {"a": 1} }),
        )
        .unwrap();
        assert_eq!(contradiction(&flags, &logged), None);
    }

    fn compared(flag: Value, logged: &str) -> Option<String> {
        let flags: Flags = serde_json::from_value(json!({ "x-y": flag })).unwrap();
        contradiction(&flags, &object(&format!("{{'x_y': {logged}}}")).unwrap())
    }

    #[test]
    fn only_a_different_value_is_a_contradiction() {
        for (flag, logged) in [
            (json!(true), "True"),
            (json!(false), "False"),
            (json!("bfloat16"), "'bfloat16'"),
            (json!("4K"), "4096"),
            (json!("4k"), "4000"),
            (json!("auto"), "-1"),
            (json!("8"), "8"),
            (json!(1), "1.0"),
            (json!("tiny"), "['tiny']"),
            (json!(["a", "b"]), "['a', 'b']"),
            (json!({"a": {"b": 1}}), "{'a': {'b': 1.0, 'c': None}}"),
            (json!({"a": 1}), "CompilationConfig(a=2)"),
            (json!("secret"), "'***'"),
            (json!("auto"), "None"),
        ] {
            assert_eq!(compared(flag, logged), None);
        }
        for (flag, logged) in [
            (json!(true), "False"),
            (json!(false), "True"),
            (json!("bfloat16"), "'float16'"),
            (json!("4K"), "4000"),
            (json!(8), "16"),
            (json!(["a", "b"]), "['a']"),
            (json!({"a": {"b": 1}}), "{'a': {'b': 2}}"),
        ] {
            let reason = compared(flag, logged).unwrap();
            assert!(reason.contains("x-y"), "{reason}");
        }
        // A flag that is not logged has its default, which may be ours.
        let flags: Flags = serde_json::from_value(json!({ "dtype": "auto", "port": 1 })).unwrap();
        assert_eq!(contradiction(&flags, &object("{'port': 2}").unwrap()), None);
    }

    #[test]
    fn a_truncated_or_foreign_line_is_no_dictionary() {
        for text in [
            "",
            "{",
            "{'a'",
            "{'a': ",
            "{'a': [}",
            "{'a': [1, }",
            "{'a' 1}",
            "[1]",
            "{'a': 'b",
            &format!("{{'a': {}", "[".repeat(10_000)),
        ] {
            assert_eq!(object(text), None, "{text}");
        }
        let escaped = object(r#"{'a': 'it\'s \x41\u00e9\n', 'b': "it's", 'c': (1, 2)}"#).unwrap();
        assert_eq!(escaped["a"], Some(json!("it's A\u{e9}\n")));
        assert_eq!(escaped["b"], Some(json!("it's")));
        assert_eq!(escaped["c"], Some(json!([1, 2])));
    }
}
