//! Parses the command line of `runner sim`: that of `vllm serve`, and `--sim-…` flags.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    engine::server_model::ServerModel,
    flags::{Flag, Flags, canonical},
    manifest::{Moment, SimScript, config_of_model},
    unit::TimeSpan,
};

/// The configuration of one embedded server.
#[derive(Clone, Debug, PartialEq)]
pub struct SimArgs {
    /// The model that it claims to serve.
    pub model: String,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: u16,
    /// The names that requests can use for the model; never empty.
    pub served: Vec<String>,
    /// The most running requests.
    pub max_num_seqs: usize,
    /// The most tokens of a request, prompt and answer together.
    pub max_model_len: u64,
    /// When tokens are emitted.
    pub script: SimScript,
    /// The seed of everything random.
    pub seed: u64,
    /// All flags except `--sim-…`, by their Python names, as vLLM logs them.
    pub flags: Vec<(String, Value)>,
    /// The server to rehearse, if `--sim-gpu` names a GPU.
    pub server: Option<ServerModel>,
}

/// Why a command line of `runner sim` is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// No model is named.
    #[error("no model; write `runner sim MODEL`, with any name, because nothing is loaded")]
    NoModel,
    /// A second positional argument.
    #[error(
        "unexpected argument {word:?}: the model is already {model:?}; write `runner sim MODEL --flag value`"
    )]
    SecondModel {
        /// The argument.
        word: String,
        /// The first one.
        model: String,
    },
    /// An unknown `--sim-…` flag.
    #[error("unknown argument --{name}; the embedded engine has {known}", known = known_flags())]
    Unknown {
        /// The flag.
        name: String,
    },
    /// A flag with a wrong value.
    #[error("argument --{name}: {reason}")]
    Value {
        /// The flag.
        name: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

const FLAGS: &str = "ttft per-token per-token-load jitter startup kv-tokens gpu catalogue seed out-of-memory crash hang \
    hang-at-start http-status fault";

fn known_flags() -> String {
    FLAGS.split(' ').map(|name| format!("--sim-{name}")).collect::<Vec<_>>().join(", ")
}

fn invalid(name: &str, reason: impl std::fmt::Display) -> ArgsError {
    ArgsError::Value { name: name.to_owned(), reason: reason.to_string() }
}

/// Parses the arguments after `runner sim`. The model is the first of them, or the value of `--model`. Flags
/// that only vLLM knows are accepted and logged, as `--flag value…`, `--flag=value`, `--flag` and
/// `--no-flag`.
///
/// # Errors
/// When an argument is unknown or has a wrong value, or no model is named.
pub fn parse_args(words: Vec<String>) -> Result<SimArgs, ArgsError> {
    let mut args = SimArgs {
        model: String::new(),
        host: IpAddr::from([127, 0, 0, 1]),
        port: 8000,
        served: Vec::new(),
        max_num_seqs: 256,
        max_model_len: 4096,
        script: SimScript::default(),
        seed: 1,
        flags: Vec::new(),
        server: None,
    };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            if !args.model.is_empty() {
                return Err(ArgsError::SecondModel { word, model: args.model });
            }
            args.model = word;
            continue;
        };
        let (name, mut values) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), vec![value.to_owned()]),
            None => (flag.to_owned(), Vec::new()),
        };
        let name = name.replace('_', "-");
        if values.is_empty() {
            while let Some(value) = words.next_if(|w| !w.starts_with("--")) {
                values.push(value);
            }
        }
        args.take(&name, &values)?;
        if !name.starts_with("sim-") {
            args.flags.push(python_flag(&name, &values));
        }
    }
    if args.model.is_empty() {
        return Err(ArgsError::NoModel);
    }
    if args.served.is_empty() {
        args.served = vec![args.model.clone()];
    }
    args.model_server()?;
    Ok(args)
}

impl SimArgs {
    /// Whether prefix caching is on, which is vLLM's default.
    pub(super) fn prefix_caching(&self) -> bool {
        let switch = |(name, value): &(String, Value)| match value {
            Value::Bool(on) if name == "enable_prefix_caching" => Some(*on),
            _ => None,
        };
        self.flags.iter().rev().find_map(switch).unwrap_or(true)
    }

    /// Models the server to rehearse, if there is one, and takes its limits.
    fn model_server(&mut self) -> Result<(), ArgsError> {
        let Some(gpu) = self.script.gpu.clone() else {
            return Ok(());
        };
        let mut flags = Flags::default();
        for (name, value) in &self.flags {
            let flag = Flag::from_value(value.clone()).map_err(|why| invalid(name, why))?;
            flags.0.insert(canonical(name), flag);
        }
        let config = config_of_model(&self.model);
        let text = config.as_ref().map(|(_, text)| text.as_str());
        let server = ServerModel::of(&gpu, &self.model, &flags, &self.script.catalogue, text)
            .map_err(|why| invalid("sim-gpu", format!("{}; {}", why.title, why.help.join("; "))))?;
        self.max_num_seqs = server.settings.max_num_seqs as usize;
        self.max_model_len = server.settings.max_model_len;
        self.server = Some(server);
        Ok(())
    }

    /// Takes one flag with its values.
    fn take(&mut self, name: &str, values: &[String]) -> Result<(), ArgsError> {
        match name {
            "host" => self.host = one(name, values)?,
            "port" => self.port = one(name, values)?,
            "model" => self.model = one(name, values)?,
            "served-model-name" if values.is_empty() => {
                return Err(invalid(name, "at least one name is needed"));
            }
            "served-model-name" => self.served = values.to_vec(),
            "max-num-seqs" => self.max_num_seqs = positive(name, values)? as usize,
            "max-model-len" => self.max_model_len = positive(name, values)?,
            "sim-ttft" => self.script.ttft = one(name, values)?,
            "sim-per-token" => self.script.per_token = one(name, values)?,
            "sim-per-token-load" => self.script.per_token_load = one(name, values)?,
            "sim-startup" => self.script.startup = one::<TimeSpan>(name, values)?,
            "sim-kv-tokens" => self.script.kv_tokens = Some(one(name, values)?),
            "sim-gpu" => self.script.gpu = Some(values.join(" ")),
            "sim-catalogue" => {
                let text: String = one(name, values)?;
                self.script.catalogue = serde_json::from_str(&text).map_err(|why| invalid(name, why))?;
            }
            "sim-seed" => self.seed = one(name, values)?,
            "sim-out-of-memory" => self.script.faults.out_of_memory = moment(name, values)?,
            "sim-crash" => self.script.faults.crash = moment(name, values)?,
            "sim-hang" => self.script.faults.hang = moment(name, values)?,
            "sim-hang-at-start" => self.script.faults.hang_at_start = true,
            "sim-http-status" => {
                let status: u16 = one(name, values)?;
                if !(400..600).contains(&status) {
                    return Err(invalid(name, format!("{status} is not an error status, 400 to 599")));
                }
                self.script.faults.http_status = status;
            }
            "sim-fault" => {
                for word in values {
                    self.script.faults.answers.add(word).map_err(|why| invalid(name, why))?;
                }
            }
            "sim-jitter" => {
                let jitter: f64 = one(name, values)?;
                if !(0.0..=1.0).contains(&jitter) {
                    return Err(invalid(name, format!("{jitter} is not a fraction between 0 and 1")));
                }
                self.script.jitter = jitter;
            }
            unknown if unknown.starts_with("sim-") => {
                return Err(ArgsError::Unknown { name: unknown.to_owned() });
            }
            _ => {}
        }
        Ok(())
    }
}

fn one<T: std::str::FromStr>(name: &str, values: &[String]) -> Result<T, ArgsError>
where
    T::Err: std::fmt::Display,
{
    let [value] = values else {
        return Err(invalid(name, format!("expected one value, got {}", values.len())));
    };
    value.parse().map_err(|why| invalid(name, format!("invalid value {value:?}: {why}")))
}

fn moment(name: &str, values: &[String]) -> Result<Option<Moment>, ArgsError> {
    Moment::parse(values).map(Some).map_err(|why| invalid(name, why))
}

fn positive(name: &str, values: &[String]) -> Result<u64, ArgsError> {
    match one(name, values)? {
        0 => Err(invalid(name, "must be at least 1")),
        n => Ok(n),
    }
}

/// A flag under its Python name, with typed values.
fn python_flag(name: &str, values: &[String]) -> (String, Value) {
    let (name, value) = match (name.strip_prefix("no-"), values) {
        (Some(negated), []) => (negated, Value::Bool(false)),
        (_, []) => (name, Value::Bool(true)),
        // vLLM keeps the served names in a list, even a single one.
        (_, [value]) if name != "served-model-name" => (name, typed(value)),
        (_, values) => (name, values.iter().map(|v| typed(v)).collect()),
    };
    (name.replace('-', "_"), value)
}

/// Parses numbers and JSON objects, as argparse would; everything else is a string.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Object(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<SimArgs, ArgsError> {
        parse_args(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn known_flags_are_parsed_and_all_others_are_kept_for_the_log() {
        let args = parse(
            "tiny --host 127.0.0.1 --port 18001 --served-model-name a b --max-num-seqs=4 --dtype bfloat16 \
             --no-enable-prefix-caching --enforce-eager --sim-ttft 5ms --sim-jitter 0 --sim-seed 9",
        )
        .unwrap();
        assert_eq!((args.port, args.max_num_seqs, args.seed), (18001, 4, 9));
        assert_eq!(args.served, ["a", "b"]);
        assert_eq!(args.script.ttft, TimeSpan::from_millis(5));
        let flags: Vec<String> = args.flags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = "host=\"127.0.0.1\" port=18001 served_model_name=[\"a\",\"b\"] max_num_seqs=4 \
                        dtype=\"bfloat16\" enable_prefix_caching=false enforce_eager=true";
        assert_eq!(flags.join(" "), expected);
    }

    #[test]
    fn errors_name_the_argument() {
        for (line, says) in [
            ("--port 1", "no model"),
            ("tiny --port many", "--port"),
            ("tiny --sim-tft 5ms", "--sim-tft"),
            ("tiny --sim-jitter 2", "--sim-jitter"),
            ("tiny --sim-crash 3", "at_request=20"),
            ("tiny --sim-fault cutt=0.1", "no_done"),
            ("tiny --sim-http-status 200", "400 to 599"),
            ("tiny --max-num-seqs 0", "--max-num-seqs"),
            ("tiny other", "\"other\""),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
