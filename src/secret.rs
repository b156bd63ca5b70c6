//! Masks the environment's secrets in text: a server may write its key into its log, an error or a response.

use std::{borrow::Cow, fmt};

use memchr::memmem;

/// What replaces a secret.
const MASK: &str = "***";
/// Shorter values are no secrets, whatever their variable's name: `false`, `8`.
const MIN_LENGTH: usize = 8;
/// The shortest beginning of a secret that is masked at the end of a truncated text, bytes.
const MIN_PREFIX: usize = 4;

/// Whether a variable or flag of this name holds a secret, such as `HF_TOKEN`, `OPENAI_API_KEY` or
/// `db-password`.
pub fn is_secret(name: &str) -> bool {
    name.to_uppercase().split(['_', '-']).any(|word| ["KEY", "TOKEN", "SECRET", "PASSWORD"].contains(&word))
}

/// The environment variables of this process that are valid UTF-8.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The secrets to mask.
///
/// ```
/// use runner::secret::Mask;
///
/// let variables = [("HF_TOKEN", "hf_0123456789"), ("HOME", "/root")];
/// let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
/// let mask = Mask::of(variables.into_iter(), &[]);
/// assert_eq!(mask.text("token hf_0123456789 in /root"), "token *** in /root");
/// ```
#[derive(Clone, Default)]
pub struct Mask {
    /// Longest first, because one may be the beginning of another.
    secrets: Vec<String>,
}

impl Mask {
    /// Collects the secrets among environment variables: those whose names are in `named`, and those with the
    /// name of a secret ([`is_secret`]).
    pub fn of(variables: impl Iterator<Item = (String, String)>, named: &[&str]) -> Self {
        let mut secrets: Vec<String> = variables
            .filter(|(name, value)| {
                (named.contains(&name.as_str()) && !value.is_empty())
                    || (is_secret(name) && value.len() >= MIN_LENGTH)
            })
            .map(|(_, value)| value)
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Masks the secrets in a text, and the beginning of one at its end, where the text may be truncated.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for secret in &self.secrets {
            if out.contains(secret.as_str()) {
                out = Cow::Owned(out.replace(secret.as_str(), MASK));
            }
            let prefix = (MIN_PREFIX..secret.len())
                .rev()
                .find(|length| secret.is_char_boundary(*length) && out.ends_with(&secret[..*length]));
            if let Some(length) = prefix {
                let kept = out.len() - length;
                out = Cow::Owned(format!("{}{MASK}", &out[..kept]));
            }
        }
        out
    }

    /// Masks a text in place.
    pub fn apply(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Returns a mask for bytes that arrive in pieces.
    pub fn stream(&self) -> Stream {
        Stream { mask: self.clone(), held: Vec::new() }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask of {} secrets", self.secrets.len())
    }
}

/// Masks bytes that arrive in pieces. A secret may span pieces.
#[derive(Debug)]
pub struct Stream {
    mask: Mask,
    /// The end of the last piece, if it may be the beginning of a secret.
    held: Vec<u8>,
}

impl Stream {
    /// Takes a piece and appends to `out` everything that cannot be the beginning of a secret.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = std::mem::take(&mut self.held);
        rest.extend_from_slice(piece);
        let secrets = &self.mask.secrets;
        let mut rest = &rest[..];
        while let Some((at, secret)) = secrets
            .iter()
            .filter_map(|secret| Some((memmem::find(rest, secret.as_bytes())?, secret)))
            .min_by_key(|(at, secret)| (*at, std::cmp::Reverse(secret.len())))
        {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(MASK.as_bytes());
            rest = &rest[at + secret.len()..];
        }
        let prefix = |secret: &String| {
            let most = rest.len().min(secret.len() - 1);
            (1..=most).rev().find(|length| rest.ends_with(&secret.as_bytes()[..*length]))
        };
        let hold = secrets.iter().filter_map(prefix).max().unwrap_or_default();
        let (show, held) = rest.split_at(rest.len() - hold);
        out.extend_from_slice(show);
        self.held = held.to_vec();
    }

    /// Appends what was held back: nothing follows, so it is no secret.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let variables = secrets.iter().map(|secret| ("K".into(), (*secret).into()));
        Mask::of(variables, &["K"])
    }

    #[test]
    fn secrets_are_the_named_variables_and_those_with_the_name_of_a_secret() {
        let variables = [
            ("MINE", "a"),
            ("HF_TOKEN", "hf_abcdefgh"),
            ("MAX_TOKEN", "8"),
            ("TOKENIZERS_PARALLELISM", "false and long"),
            ("PATH", "/usr/bin:/bin"),
            ("EMPTY_KEY", ""),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mask = Mask::of(variables.into_iter(), &["MINE", "EMPTY_KEY"]);
        assert_eq!(mask.secrets, ["hf_abcdefgh", "a"]);
        assert_eq!(format!("{mask:?}"), "Mask of 2 secrets");
    }

    #[test]
    fn secrets_and_their_beginning_at_the_end_are_masked() {
        let mask = mask(&["sk-planted-1", "sk-planted-12"]);
        for (text, shown) in [
            ("nothing here", "nothing here"),
            ("Bearer sk-planted-1!", "Bearer ***!"),
            ("sk-planted-12 sk-planted-1", "*** ***"),
            ("the key is sk-pla", "the key is ***"),
            ("ask", "ask"),
        ] {
            assert_eq!(mask.text(text), shown);
        }
        assert_eq!(super::Mask::default().text("sk-planted-1"), "sk-planted-1");
    }

    proptest! {
        #[test]
        fn pieces_are_masked_like_the_whole(text in "[ab]{0,60}", cuts in prop::collection::vec(0usize..61, 0..6)) {
            let mask = mask(&["abab", "bbb"]);
            let mut stream = mask.stream();
            let mut whole = mask.stream();
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            whole.feed(text.as_bytes(), &mut expected);
            whole.finish(&mut expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                stream.feed(&text.as_bytes()[pair[0]..pair[1]], &mut out);
            }
            stream.finish(&mut out);
            prop_assert!(memmem::find(&out, b"abab").is_none() && memmem::find(&out, b"bbb").is_none());
            prop_assert_eq!(out, expected);
        }
    }
}
