//! Paths into a manifest, in TOML's own key syntax.

use std::fmt;

use super::error::ValueError;

/// Keys from the root of the manifest, such as `server.flags.max-model-len`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(pub(crate) Vec<String>);

impl Path {
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    pub(crate) fn child(&self, key: &str) -> Self {
        Self(self.0.iter().cloned().chain([key.to_owned()]).collect())
    }

    /// Reads a dotted key: bare keys, `"quoted keys"` and `'literal keys'`.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::NotAPath(text.to_owned());
        // A dotted key followed by a value is a whole TOML document, so its own parser reads the key.
        let document = format!("{text} = 0");
        if text.contains(['\n', '=', '#', '[', ']']) {
            return Err(wrong());
        }
        let mut value: toml::Value = toml::from_str::<toml::Table>(&document).map_err(|_| wrong())?.into();
        let mut keys = Vec::new();
        while let toml::Value::Table(table) = value {
            let (key, next) = table.into_iter().next().ok_or_else(wrong)?;
            keys.push(key);
            value = next;
        }
        Ok(Self(keys))
    }

    pub(crate) fn starts_with(&self, prefix: &[&str]) -> bool {
        self.0.len() >= prefix.len() && self.0.iter().zip(prefix).all(|(a, b)| a == b)
    }

    pub(crate) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let bare =
                !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if bare {
                f.write_str(key)?;
            } else {
                write!(f, "{key:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written_in_toml_syntax() {
        let path = Path::parse("server.flags.\"odd key\".x").unwrap();
        assert_eq!(path.0, ["server", "flags", "odd key", "x"]);
        assert_eq!(path.to_string(), "server.flags.\"odd key\".x");
        for text in ["", "a..b", "a b", "a = 1", "[a]"] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }
}
