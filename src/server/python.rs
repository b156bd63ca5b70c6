//! The `repr` of a Python dictionary, as vLLM logs its arguments with it.

use std::collections::BTreeMap;

use crate::manifest::{Flag, Flags, scalar_text};
use serde_json::Value;

/// A dictionary with string keys. A value that is no plain data is [`None`].
pub(super) type Object = BTreeMap<String, Option<Value>>;

/// Reads `{'port': 8000, 'enforce_eager': True, …}`; `None` when it is something else.
pub(super) fn object(text: &str) -> Option<Object> {
    let mut parser = Parser { rest: text.trim() };
    let object = parser.dictionary()?;
    Some(object)
}

struct Parser<'a> {
    rest: &'a str,
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

    /// The outer `None` is a text that is no repr at all; the inner one a value that is no plain data.
    fn value(&mut self) -> Option<Option<Value>> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        match first {
            '\'' | '"' => self.string(first).map(|text| Some(Value::String(text))),
            '{' => {
                let inner = self.dictionary()?;
                let plain: Option<serde_json::Map<String, Value>> = inner
                    .into_iter()
                    .map(|(key, value)| Some((key, value?)))
                    .collect();
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
                other => text.push(other),
            }
        }
        None
    }

    /// A number, a constant, or the repr of an object, which may hold brackets of its own.
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

/// The first flag whose logged value is another than ours, as a sentence. A flag that is not logged has its default,
/// which may well be ours.
pub(super) fn contradiction(flags: &Flags, logged: &Object) -> Option<String> {
    flags.0.iter().find_map(|(name, flag)| {
        let value = logged.get(&name.replace('-', "_"))?.as_ref()?;
        let same = match (flag, value) {
            (Flag::Unset, _) => true,
            (Flag::On, value) => *value == Value::Bool(true),
            (Flag::Off, value) => *value == Value::Bool(false),
            (Flag::Json(map), Value::Object(logged)) => map
                .iter()
                .all(|(key, v)| logged.get(key).is_none_or(|l| l == v)),
            (Flag::Json(_), _) => true,
            (Flag::Many(ours), Value::Array(theirs)) => same_list(ours, theirs),
            (Flag::Many(ours), value) => same_list(ours, std::slice::from_ref(value)),
            (Flag::Value(ours), Value::Array(theirs)) => {
                same_list(std::slice::from_ref(ours), theirs)
            }
            (Flag::Value(ours), value) => same(ours, value),
        };
        (!same).then(|| format!("its log shows {name} = {value}, not {}", flag.to_value()))
    })
}

fn same_list(ours: &[Value], theirs: &[Value]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
}

/// Whether two scalars are the same to vLLM. It reads words such as `4k` as numbers, so a word is no contradiction there.
fn same(ours: &Value, logged: &Value) -> bool {
    match (ours.as_f64(), logged.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        (None, Some(b)) => scalar_text(ours)
            .parse::<f64>()
            .map_or(true, |a| (a - b).abs() <= 1e-9),
        _ => scalar_text(ours) == scalar_text(logged) || logged.is_object() || logged.is_boolean(),
    }
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
        let flags: Flags = serde_json::from_value(json!({ "port": 1 })).unwrap();
        assert!(
            contradiction(&flags, &logged)
                .unwrap()
                .contains("18001, not 1")
        );
    }
}
