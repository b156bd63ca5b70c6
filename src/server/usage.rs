//! What a server's process tree uses of the machine.

use rustix::process::Pid;

/// The processes of one server, to be looked at while it runs. Looking does not keep them alive.
#[derive(Clone, Copy, Debug)]
pub struct ProcessTree {
    pub(super) guard: Pid,
    pub(super) group: Pid,
}

/// What all processes of a tree have used until now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeUsage {
    /// Seconds of processor time, user and system, since each process began; those that ended and were waited for are
    /// in it.
    pub cpu_s: f64,
    /// Resident memory now, bytes; shared pages count once for each process.
    pub rss_bytes: u64,
    /// How many processes live.
    pub processes: u32,
}

impl ProcessTree {
    /// Looks at every process of the tree; `None` where the kernel does not tell, or nobody is left.
    #[cfg(target_os = "linux")]
    pub fn usage(self) -> Option<TreeUsage> {
        let (guard, group) = (self.guard.as_raw_nonzero().get(), self.group.as_raw_nonzero().get());
        let (members, guardian) = super::tree::living(guard, group)?;
        let own = |stat: &procfs::process::Stat| stat.utime + stat.stime;
        // What ended counts where it was waited for: with its parent, or with the guardian.
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

    /// Looks at every process of the tree; `None` where the kernel does not tell.
    #[cfg(not(target_os = "linux"))]
    pub fn usage(self) -> Option<TreeUsage> {
        None
    }

    /// The numbers of the living processes, as the kernel and the drivers call them.
    pub fn pids(self) -> Vec<u32> {
        super::tree::members(self.guard, self.group)
            .into_iter()
            .flatten()
            .map(|member| member.pid.as_raw_nonzero().get().unsigned_abs())
            .collect()
    }
}
