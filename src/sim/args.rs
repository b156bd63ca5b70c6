//! The words after `runner sim`: those of `vllm serve`, and our own `--sim-…`.

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    engine::server_model::ServerModel,
    flags::{Flag, Flags, canonical},
    manifest::{Moment, SimScript, config_of_model},
    unit::TimeSpan,
};

/// What one embedded server is told to be.
#[derive(Clone, Debug, PartialEq)]
pub struct SimArgs {
    /// The model it pretends to serve.
    pub model: String,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// Names requests may use for the model; never empty.
    pub served: Vec<String>,
    /// Most requests that run at once.
    pub max_num_seqs: usize,
    /// Longest prompt and output of one request together, tokens.
    pub max_model_len: u64,
    /// When tokens leave.
    pub script: SimScript,
    /// Where everything that looks random comes from.
    pub seed: u64,
    /// Every flag but `--sim-…`, under its Python name, as vLLM would log it.
    pub flags: Vec<(String, Value)>,
    /// The GPU and the model that are rehearsed, when a GPU was named.
    pub modelled: Option<ServerModel>,
}

/// Reads the words after `runner sim`. Flags it does not understand are accepted and logged, as `--flag value…`,
/// `--flag=value`, `--flag` and `--no-flag`; the model is the first word, or the value of `--model`.
///
/// # Errors
/// A sentence that names the word and what was expected.
pub fn parse_args(words: Vec<String>) -> Result<SimArgs, String> {
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
        modelled: None,
    };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            if !args.model.is_empty() {
                return Err(format!(
                    "unexpected word {word:?}: the model is already {:?}; write `runner sim MODEL --flag value`",
                    args.model
                ));
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
        return Err("no model: write `runner sim MODEL`; any name will do, nothing is loaded".to_owned());
    }
    if args.served.is_empty() {
        args.served = vec![args.model.clone()];
    }
    args.find_gpu()?;
    Ok(args)
}

impl SimArgs {
    /// Whether prefixes are looked for among earlier prompts: yes unless told otherwise, as in vLLM.
    pub(super) fn prefix_caching(&self) -> bool {
        let told = |(name, value): &(String, Value)| match value {
            Value::Bool(on) if name == "enable_prefix_caching" => Some(*on),
            _ => None,
        };
        self.flags.iter().rev().find_map(told).unwrap_or(true)
    }

    /// Finds the GPU and the model, and takes over the limits that the flags leave to them.
    fn find_gpu(&mut self) -> Result<(), String> {
        let Some(gpu) = self.script.gpu.clone() else {
            return Ok(());
        };
        let mut flags = Flags::default();
        for (name, value) in &self.flags {
            let flag = Flag::from_value(value.clone()).map_err(|why| format!("argument --{name}: {why}"))?;
            flags.0.insert(canonical(name), flag);
        }
        let config = config_of_model(&self.model);
        let text = config.as_ref().map(|(_, text)| text.as_str());
        let modelled = ServerModel::of(&gpu, &self.model, &flags, &self.script.catalogue, text)
            .map_err(|why| format!("argument --sim-gpu: {}; {}", why.title, why.help.join("; ")))?;
        self.max_num_seqs = modelled.settings.max_num_seqs as usize;
        self.max_model_len = modelled.settings.max_model_len;
        self.modelled = Some(modelled);
        Ok(())
    }

    fn take(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        match name {
            "host" => self.host = one(name, values)?,
            "port" => self.port = one(name, values)?,
            "model" => self.model = one(name, values)?,
            "served-model-name" if values.is_empty() => {
                return Err("--served-model-name needs at least one name".to_owned());
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
                self.script.catalogue =
                    serde_json::from_str(&text).map_err(|why| format!("argument --sim-catalogue: {why}"))?;
            }
            "sim-seed" => self.seed = one(name, values)?,
            "sim-out-of-memory" => self.script.faults.out_of_memory = moment(name, values)?,
            "sim-crash" => self.script.faults.crash = moment(name, values)?,
            "sim-hang" => self.script.faults.hang = moment(name, values)?,
            "sim-hang-at-start" => self.script.faults.hang_at_start = true,
            "sim-http-status" => {
                let status: u16 = one(name, values)?;
                if !(400..600).contains(&status) {
                    return Err(format!(
                        "argument --sim-http-status: {status} is not a status of a refusal, 400 to 599"
                    ));
                }
                self.script.faults.http_status = status;
            }
            "sim-fault" => {
                for word in values {
                    let added = self.script.faults.answers.add(word);
                    added.map_err(|why| format!("argument --sim-fault: {why}"))?;
                }
            }
            "sim-jitter" => {
                let jitter: f64 = one(name, values)?;
                if !(0.0..=1.0).contains(&jitter) {
                    return Err(format!("argument --sim-jitter: {jitter} is not a fraction between 0 and 1"));
                }
                self.script.jitter = jitter;
            }
            unknown if unknown.starts_with("sim-") => {
                return Err(format!(
                    "unrecognized argument --{unknown}; the embedded engine knows --sim-ttft, --sim-per-token, \
                     --sim-per-token-load, --sim-jitter, --sim-startup, --sim-kv-tokens, --sim-gpu, --sim-catalogue, --sim-seed, --sim-out-of-memory, \
                     --sim-crash, --sim-hang, --sim-hang-at-start, --sim-http-status and --sim-fault"
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

fn one<T: std::str::FromStr>(name: &str, values: &[String]) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let [value] = values else {
        return Err(format!("argument --{name}: expected one value, got {}", values.len()));
    };
    value.parse().map_err(|why| format!("argument --{name}: invalid value {value:?}: {why}"))
}

fn moment(name: &str, values: &[String]) -> Result<Option<Moment>, String> {
    Moment::parse(values).map(Some).map_err(|why| format!("argument --{name}: {why}"))
}

fn positive(name: &str, values: &[String]) -> Result<u64, String> {
    match one(name, values)? {
        0 => Err(format!("argument --{name}: must be at least 1")),
        n => Ok(n),
    }
}

fn python_flag(name: &str, values: &[String]) -> (String, Value) {
    let (name, value) = match (name.strip_prefix("no-"), values) {
        (Some(negated), []) => (negated, Value::Bool(false)),
        (_, []) => (name, Value::Bool(true)),
        // vLLM keeps served names in a list, however many there are.
        (_, [value]) if name != "served-model-name" => (name, typed(value)),
        (_, values) => (name, values.iter().map(|v| typed(v)).collect()),
    };
    (name.replace('-', "_"), value)
}

/// Numbers and JSON objects by their looks, the way argparse would have typed them; all else is a string.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Object(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<SimArgs, String> {
        parse_args(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn understood_flags_are_read_and_all_others_are_kept_for_the_log() {
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
    fn mistakes_name_the_word() {
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
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
