//! How many files, and with them connections, this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside connections: results, logs, pipes, the runtime's own.
const BESIDE: u64 = 64;
/// No more is asked for, even where there is no limit: a program that inherits it may walk through all of it.
const MOST: u64 = 1 << 20;
/// The most that macOS grants, whatever its hard limit says (`OPEN_MAX`).
const MOST_OF_MACOS: u64 = 10_240;

/// Raises the limit on open files as far as it goes without privileges, and returns what it is then. What this process starts
/// later inherits it.
pub fn raise_open_files() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let soft = |limits: Rlimit| limits.current.unwrap_or(u64::MAX);
    for wanted in [hard.min(MOST), hard.min(MOST_OF_MACOS)] {
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

/// Why so many connections at once are more than a limit on open files lets in; `None` when they are not.
pub fn too_many_connections(wanted: u64, limit: u64) -> Option<String> {
    let needed = wanted.saturating_add(BESIDE);
    (needed > limit).then(|| {
        let fewer = match limit.saturating_sub(BESIDE) {
            0 => String::new(),
            fewer => format!(", or ask for at most {fewer} in flight"),
        };
        format!(
            "{wanted} requests in flight need {needed} open files, and the limit is {limit}, the hard one: raise it with \
             `ulimit -n {needed}` as root (or in /etc/security/limits.conf, or `docker run --ulimit nofile={needed}`){fewer}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes_and_what_is_beyond_it_is_told_with_numbers() {
        let limit = raise_open_files();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(limit >= hard.min(MOST_OF_MACOS), "{limit} of {hard}");
        assert_eq!(too_many_connections(1000, 1064), None);
        let told = too_many_connections(1001, 1064).unwrap();
        for number in ["1001 requests", "1065 open files", "ulimit -n 1065", "at most 1000"] {
            assert!(told.contains(number), "{told}");
        }
    }
}
