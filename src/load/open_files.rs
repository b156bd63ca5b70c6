//! The limit on open files, and so on connections, of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files other than connections: results, logs, pipes, the runtime's own.
const OTHER_FILES: u64 = 64;
/// The highest limit that is set, even where there is none: some programs that inherit it close every
/// possible file.
const HIGHEST: u64 = 1 << 20;
/// The most that macOS grants, whatever its hard limit (`OPEN_MAX`).
const HIGHEST_ON_MACOS: u64 = 10_240;

/// Raises the limit on open files as far as possible without privileges and returns it. Child processes
/// inherit it.
pub fn raise_open_files() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let soft = |limits: Rlimit| limits.current.unwrap_or(u64::MAX);
    for wanted in [hard.min(HIGHEST), hard.min(HIGHEST_ON_MACOS)] {
        if soft(now) >= wanted {
            break;
        }
        let raised = Rlimit { current: Some(wanted), maximum: now.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    soft(getrlimit(Resource::Nofile))
}

/// Explains that a limit on open files is too low for a number of connections; `None` when it suffices.
pub fn too_many_connections(wanted: u64, limit: u64) -> Option<String> {
    let needed = wanted.saturating_add(OTHER_FILES);
    (needed > limit).then(|| {
        let fewer = match limit.saturating_sub(OTHER_FILES) {
            0 => String::new(),
            fewer => format!(", or set at most {fewer} in flight"),
        };
        format!(
            "{wanted} requests in flight need {needed} open files, and the hard limit is {limit}: raise it with \
             `ulimit -n {needed}` as root (or in /etc/security/limits.conf, or `docker run --ulimit nofile={needed}`){fewer}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_a_number_beyond_it_is_explained() {
        let limit = raise_open_files();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(limit >= hard.min(HIGHEST_ON_MACOS), "{limit} of {hard}");
        assert_eq!(too_many_connections(1000, 1064), None);
        let text = too_many_connections(1001, 1064).unwrap();
        for number in ["1001 requests", "1065 open files", "ulimit -n 1065", "at most 1000"] {
            assert!(text.contains(number), "{text}");
        }
    }
}
