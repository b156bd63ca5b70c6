//! Reads recorded traces: arrivals with the lengths of their prompts and answers.

use camino::Utf8Path;
use serde::Deserialize;

use super::{error::InputError, json_lines::json_lines};

/// One arrival of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceLine {
    /// Seconds since the first arrival, as recorded.
    pub at_s: f64,
    /// Tokens of the prompt, if the trace has them.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, if the trace has them. A failed request's 0 is replayed as 1.
    pub output_tokens: Option<u32>,
    /// Hashes of the prompt's blocks. Equal hashes mean that the prompts are equal up to the end of that
    /// block.
    pub hash_ids: Vec<u64>,
}

/// A line of the Mooncake format, in milliseconds.
#[derive(Deserialize)]
struct Mooncake {
    timestamp: f64,
    input_length: Option<u32>,
    output_length: Option<u32>,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

/// A line of the BurstGPT format, in seconds.
#[derive(Deserialize)]
struct BurstGpt {
    #[serde(rename = "Timestamp")]
    timestamp: f64,
    #[serde(rename = "Request tokens")]
    request_tokens: Option<u32>,
    #[serde(rename = "Response tokens")]
    response_tokens: Option<u32>,
}

impl TraceLine {
    /// Reads a trace and sorts its lines by time.
    ///
    /// # Errors
    /// When a line cannot be read, a time is not finite, or there is no line.
    pub(super) fn parse(file: &Utf8Path, text: &str) -> Result<Vec<Self>, InputError> {
        let (mut lines, per_second) = match text.trim_start().starts_with('{') {
            true => (mooncake(file, text)?, 1e3),
            false => (burst_gpt(file, text)?, 1.0),
        };
        if let Some(at) = lines.iter().position(|line| !line.at_s.is_finite()) {
            return Err(InputError::NotFinite { file: file.to_owned(), number: at + 1 });
        }
        lines.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let Some(first) = lines.first().map(|line| line.at_s) else {
            return Err(InputError::Empty { file: file.to_owned(), what: "arrival" });
        };
        for line in &mut lines {
            line.at_s = (line.at_s - first) / per_second;
        }
        Ok(lines)
    }
}

const EXPECTED: &str = "a line of a trace";

/// The lines, with times in milliseconds.
fn mooncake(file: &Utf8Path, text: &str) -> Result<Vec<TraceLine>, InputError> {
    json_lines::<Mooncake>(file, text, EXPECTED)
        .map(|line| {
            let (_, line) = line?;
            Ok(TraceLine {
                at_s: line.timestamp,
                input_tokens: line.input_length,
                output_tokens: line.output_length.map(|tokens| tokens.max(1)),
                hash_ids: line.hash_ids,
            })
        })
        .collect()
}

/// The lines, with times in seconds.
fn burst_gpt(file: &Utf8Path, text: &str) -> Result<Vec<TraceLine>, InputError> {
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .map(|line| {
            let line: BurstGpt = line.map_err(|error| {
                let number = error.position().map_or(1, |position| position.line());
                InputError::unreadable(file, number, EXPECTED, &error)
            })?;
            Ok(TraceLine {
                at_s: line.timestamp,
                input_tokens: line.request_tokens,
                output_tokens: line.response_tokens.map(|tokens| tokens.max(1)),
                hash_ids: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<TraceLine>, InputError> {
        TraceLine::parse("t".into(), text)
    }

    #[test]
    fn the_mooncake_form_is_in_milliseconds_and_starts_with_its_first_line() {
        let text = "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n\n\
                    {\"timestamp\": 30535, \"input_length\": 6472, \"output_length\": 0, \"hash_ids\": [46]}\n";
        let lines = read(text).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].at_s, lines[1].at_s), (0.0, 3.053));
        assert_eq!(lines[0].hash_ids, [46, 47]);
        assert_eq!((lines[1].input_tokens, lines[1].output_tokens), (Some(6472), Some(1)));
    }

    #[test]
    fn the_burst_gpt_form_is_in_seconds_and_sorted() {
        let text = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                    118,ChatGPT,1087,230,1317,Conversation log\n5,ChatGPT,472,18,490,Conversation log\n";
        let lines = read(text).unwrap();
        assert_eq!((lines[0].at_s, lines[1].at_s), (0.0, 113.0));
        assert_eq!((lines[0].input_tokens, lines[1].output_tokens), (Some(472), Some(230)));
    }

    #[test]
    fn what_is_no_trace_is_named_with_its_line() {
        for (text, words) in [
            ("", "holds no arrival"),
            ("{\"timestamp\": 1}\n{\"time\": 2}\n", "t:2"),
            ("Timestamp,Request tokens,Response tokens\nsoon,1,2\n", "t:2"),
            ("a,b\n1,2\n", "Timestamp"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
