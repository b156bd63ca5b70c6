//! Secrets of the environment, and text without them: a server may write the key it was given into its log, an error or
//! an answer.

use std::{borrow::Cow, fmt};

use memchr::memmem;

/// What stands where a secret stood.
const MASK: &str = "***";
/// The shortest value that a name alone makes a secret: `false` and `8` are none, whatever their variable is called.
const SHORTEST: usize = 8;
/// The least of a secret's beginning that is masked at the end of a text that was cut.
const CUT: usize = 4;

/// Whether a name is one that a secret goes by: `HF_TOKEN`, `OPENAI_API_KEY`, `db-password`.
pub fn is_secret(name: &str) -> bool {
    name.to_uppercase().split(['_', '-']).any(|word| ["KEY", "TOKEN", "SECRET", "PASSWORD"].contains(&word))
}

/// The variables of this process that are text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The secrets that no text may show.
#[derive(Clone, Default)]
pub struct Mask {
    /// The longest first, since one may be the beginning of another.
    secrets: Vec<String>,
}

impl Mask {
    /// Takes the secrets among some variables: those whose name is one of `named`, and those that go by the name of one.
    pub fn of(variables: impl Iterator<Item = (String, String)>, named: &[&str]) -> Self {
        let mut secrets: Vec<String> = variables
            .filter(|(name, value)| {
                (named.contains(&name.as_str()) && !value.is_empty())
                    || (is_secret(name) && value.len() >= SHORTEST)
            })
            .map(|(_, value)| value)
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// A text without the secrets; without the beginning of one either, where the text was cut in the middle of it.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        for secret in &self.secrets {
            if out.contains(secret.as_str()) {
                out = Cow::Owned(out.replace(secret.as_str(), MASK));
            }
            let cut = (CUT..secret.len())
                .rev()
                .find(|length| secret.is_char_boundary(*length) && out.ends_with(&secret[..*length]));
            if let Some(length) = cut {
                let kept = out.len() - length;
                out = Cow::Owned(format!("{}{MASK}", &out[..kept]));
            }
        }
        out
    }

    /// Masks a text where it stands.
    pub fn apply(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// A mask for bytes that come piece by piece.
    pub fn stream(&self) -> Stream {
        Stream { mask: self.clone(), held: Vec::new() }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask of {} secrets", self.secrets.len())
    }
}

/// Masks bytes that come piece by piece; a secret may lie across two pieces.
#[derive(Debug)]
pub struct Stream {
    mask: Mask,
    /// The end of what came, when it may be the beginning of a secret.
    held: Vec<u8>,
}

impl Stream {
    /// Takes a piece, and appends to `out` what may be shown of it and of what was held back before.
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
        let begun = |secret: &String| {
            let most = rest.len().min(secret.len() - 1);
            (1..=most).rev().find(|length| rest.ends_with(&secret.as_bytes()[..*length]))
        };
        let hold = secrets.iter().filter_map(begun).max().unwrap_or_default();
        let (show, held) = rest.split_at(rest.len() - hold);
        out.extend_from_slice(show);
        self.held = held.to_vec();
    }

    /// Appends what was held back: no more comes, so it is no secret.
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
    fn secrets_are_those_named_and_those_that_go_by_the_name() {
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
    fn a_text_shows_no_secret_and_no_beginning_of_one_at_its_cut() {
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
        fn pieces_are_masked_as_the_whole_is(text in "[ab]{0,60}", cuts in prop::collection::vec(0usize..61, 0..6)) {
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
