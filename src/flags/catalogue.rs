//! What is known about the flags of `vllm serve`, read from `vllm.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

const VLLM: &str = include_str!("vllm.toml");

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| toml::from_str(VLLM).expect("vllm.toml is part of the program, and a test reads it"));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    #[cfg_attr(not(test), expect(dead_code, reason = "names the release for readers and for the test"))]
    checked: String,
    flag: Vec<FlagInfo>,
}

/// One flag of `vllm serve`: its names, its type and default, and what it decides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagInfo {
    /// The long name, without dashes.
    pub name: String,
    /// Other names, with the dashes that vLLM wants: `-tp`.
    #[serde(default)]
    pub also: Vec<String>,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: FlagKind,
    /// What the flag decides, in one sentence without a full stop.
    pub help: Option<String>,
    /// Unit of the value.
    pub unit: Option<String>,
    /// The value that vLLM takes where the flag is not passed.
    pub default: Option<Value>,
    /// Defaults by device; the first rule that applies wins over [`FlagInfo::default`].
    #[serde(default)]
    default_on: Vec<DeviceDefault>,
    /// Values that leave the choice to vLLM.
    #[serde(default)]
    pub automatic: Vec<String>,
    /// Whether a larger value never needs less GPU memory.
    #[serde(default)]
    pub more_memory: bool,
    /// Whether the number of GPUs is multiplied by the value.
    #[serde(default)]
    pub splits: bool,
    /// The values that a search for the best server tries where the manifest lists none.
    #[serde(default)]
    pub usual: Vec<Value>,
    /// Whether it changes speed or memory.
    #[serde(default)]
    pub tuning: bool,
    /// Whether a running server reports the value at `/v1/models`.
    #[serde(default)]
    pub reported: bool,
    /// Whether the value must never be stored or shown.
    #[serde(default)]
    pub secret: bool,
    /// Whether it says where the server listens, which the launch decides.
    #[serde(default)]
    pub address: bool,
}

/// The type of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagKind {
    /// `--flag` and `--no-flag`.
    Switch,
    /// A positive whole number, also with a suffix: `4k` is 4000, `4K` is 4096.
    Integer,
    /// A number above 0, up to 1.
    Fraction,
    /// Any number.
    Number,
    /// One word.
    Text,
    /// One or more words.
    List,
    /// A JSON object.
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceDefault {
    /// Applies to CPUs only.
    #[serde(default)]
    cpu: bool,
    /// Applies from this much memory, GiB.
    #[serde(default)]
    min_gib: f64,
    /// Does not apply to devices whose name contains this.
    except: Option<String>,
    value: u64,
}

/// The device that a server runs on, as far as it decides about defaults.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Its name: `A100 80GB`.
    pub name: &'a str,
    /// Its memory, GiB.
    pub gib: f64,
    /// Whether it is the host's own processor.
    pub is_cpu: bool,
}

impl FlagInfo {
    /// The default on a device, for a flag whose default is a whole number.
    pub fn default_on(&self, device: Device<'_>) -> Option<u64> {
        let rule = self.default_on.iter().find(|rule| {
            (!rule.cpu || device.is_cpu)
                && device.gib >= rule.min_gib
                && rule.except.as_ref().is_none_or(|name| !device.name.contains(name.as_str()))
        });
        rule.map(|rule| rule.value).or_else(|| self.default.as_ref()?.as_u64())
    }
}

/// All flags that are known, in the order of the file.
pub fn all() -> &'static [FlagInfo] {
    &CATALOGUE.flag
}

/// The canonical spelling of a flag's name: dashes inside, none in front.
pub fn canonical(name: &str) -> String {
    name.trim_start_matches('-').replace('_', "-")
}

/// What is known about a flag, by any of its names and in any spelling.
pub fn info(name: &str) -> Option<&'static FlagInfo> {
    let name = canonical(name);
    let is_also = |info: &&FlagInfo| info.also.iter().any(|also| also.trim_start_matches('-') == name);
    all().iter().find(|info| info.name == name).or_else(|| all().iter().find(is_also))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = include_str!("../../tests/recorded/vllm/help-all.txt");

    /// The line of the recorded help that names an option, with all its forms.
    fn help_line(name: &str) -> &'static str {
        let is_it = |word: &str| word.trim_end_matches(',') == format!("--{name}");
        let line = HELP.lines().find(|line| line.starts_with("  --") && line.split(' ').any(is_it));
        line.unwrap_or_else(|| panic!("--{name} is not in the recorded help"))
    }

    #[test]
    fn every_flag_is_one_of_the_release_it_was_checked_against() {
        let version = include_str!("../../tests/recorded/vllm/get-version.txt");
        assert!(version.contains(&format!("{:?}", CATALOGUE.checked)));
        for info in all() {
            let line = help_line(&info.name);
            assert_eq!(line.contains(", --no-"), info.kind == FlagKind::Switch, "{line}");
            for also in &info.also {
                assert!(line.contains(also.as_str()), "{also}: {line}");
            }
        }
    }

    #[test]
    fn names_are_found_in_every_spelling_and_are_unique() {
        for spelling in ["--tp", "-tp", "tp", "tensor_parallel_size", "--tensor-parallel-size"] {
            assert_eq!(info(spelling).unwrap().name, "tensor-parallel-size");
        }
        assert!(info("no-such-flag").is_none());
        for flag in all() {
            for name in std::iter::once(&flag.name).chain(&flag.also) {
                assert!(std::ptr::eq(info(name).unwrap(), flag), "{name}");
            }
        }
    }

    #[test]
    fn defaults_depend_on_the_device() {
        let on = |name, gib| Device { name, gib, is_cpu: name == "CPU" };
        let tokens = info("max-num-batched-tokens").unwrap();
        let block = info("block-size").unwrap();
        assert_eq!(tokens.default_on(on("H200", 141.0)), Some(8192));
        assert_eq!(tokens.default_on(on("B200", 180.0)), Some(16_384));
        assert_eq!(tokens.default_on(on("A100 80GB", 80.0)), Some(2048));
        assert_eq!(
            (block.default_on(on("T4", 16.0)), block.default_on(on("CPU", 16.0))),
            (Some(16), Some(128))
        );
    }
}
