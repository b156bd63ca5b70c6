//! Processor time and memory of a server's process tree.

use rustix::process::Pid;

/// A handle on the processes of one server, to measure them while it runs. It does not keep them alive.
#[derive(Clone, Copy, Debug)]
pub struct ProcessTree {
    pub(in crate::server) guard: Pid,
    pub(in crate::server) group: Pid,
}

/// What the processes of a tree have used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeUsage {
    /// Processor time, user and system, seconds. Includes processes that ended and were waited for.
    pub cpu_s: f64,
    /// Resident memory now, bytes. Shared pages count once per process.
    pub rss_bytes: u64,
    /// Number of living processes.
    pub processes: u32,
}

impl ProcessTree {
    /// Measures the tree; `None` where processes cannot be listed, or none is left.
    #[cfg(target_os = "linux")]
    pub fn usage(self) -> Option<TreeUsage> {
        let (guard, group) = (self.guard.as_raw_nonzero().get(), self.group.as_raw_nonzero().get());
        let (members, guardian) = super::tree::living(guard, group)?;
        let own = |stat: &procfs::process::Stat| stat.utime + stat.stime;
        // The time of an ended process is added to whoever waited for it: its parent, or the guardian.
        let ended =
            |stat: &procfs::process::Stat| u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
        let ticks: u64 =
            members.iter().map(|stat| own(stat) + ended(stat)).chain(guardian.as_ref().map(ended)).sum();
        let pages: u64 = members.iter().map(|stat| stat.rss).sum();
        (!members.is_empty()).then(|| TreeUsage {
            cpu_s: ticks as f64 / procfs::ticks_per_second() as f64,
            rss_bytes: pages * procfs::page_size(),
            processes: members.len() as u32,
        })
    }

    /// Measures the tree; `None` on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn usage(self) -> Option<TreeUsage> {
        None
    }

    /// The PIDs of the living processes.
    pub fn pids(self) -> Vec<u32> {
        super::tree::members(self.guard, self.group)
            .into_iter()
            .flatten()
            .map(|member| member.pid.as_raw_nonzero().get().unsigned_abs())
            .collect()
    }
}
