//! The process tree of one server: who is in it, who listens, and signals to all of it.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// One living process of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Member {
    pub(in crate::server) pid: Pid,
    /// Whether it is still in the process group in which the server was started.
    pub(super) in_group: bool,
    /// Start time, clock ticks since boot; zero where processes cannot be listed.
    pub(super) start: u64,
}

/// The kernel's statistics of the living tree, and of the guardian itself. The tree is the guardian's
/// descendants, whatever group or session they moved to, and the members of the server's group; zombies are
/// left out. `None` where processes cannot be listed.
#[cfg(target_os = "linux")]
pub(super) fn living(
    guard: i32,
    group: i32,
) -> Option<(Vec<procfs::process::Stat>, Option<procfs::process::Stat>)> {
    use std::collections::{HashMap, HashSet};

    let mut stats = Vec::new();
    for process in procfs::process::all_processes().ok()? {
        match process.and_then(|process| process.stat()) {
            Ok(stat) => stats.push(stat),
            Err(error) if is_exhausted(&error) => return None,
            // It ended meanwhile, or belongs to another user.
            Err(_) => {}
        }
    }
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for stat in &stats {
        children.entry(stat.ppid).or_default().push(stat.pid);
    }
    let mut below = HashSet::new();
    let mut next = vec![guard];
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if below.insert(*child) {
                next.push(*child);
            }
        }
    }
    let (guardian, others): (Vec<_>, Vec<_>) = stats.into_iter().partition(|stat| stat.pid == guard);
    let members = others
        .into_iter()
        .filter(|stat| !matches!(stat.state, 'Z' | 'X'))
        .filter(|stat| stat.pgrp == group || below.contains(&stat.pid))
        .collect();
    Some((members, guardian.into_iter().next()))
}

/// Whether a process could not be read because files or memory ran out, which says nothing about the process.
#[cfg(target_os = "linux")]
fn is_exhausted(error: &procfs::ProcError) -> bool {
    use rustix::io::Errno;

    let procfs::ProcError::Io(error, _) = error else {
        return false;
    };
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// The living processes of a tree. `None` where they cannot be listed, which does not mean that nobody is
/// left.
#[cfg(target_os = "linux")]
pub(in crate::server) fn members(guard: Pid, group: Pid) -> Option<Vec<Member>> {
    let (guard, group) = (guard.as_raw_nonzero().get(), group.as_raw_nonzero().get());
    let member = |stat: &procfs::process::Stat| {
        Some(Member { pid: Pid::from_raw(stat.pid)?, in_group: stat.pgrp == group, start: stat.starttime })
    };
    let (members, _) = living(guard, group)?;
    Some(members.iter().filter_map(member).collect())
}

#[cfg(not(target_os = "linux"))]
pub(in crate::server) fn members(_guard: Pid, group: Pid) -> Option<Vec<Member>> {
    Some(whole_group(group))
}

/// The group's leader as a member that stands for the whole group, while anybody is in it. For where
/// processes cannot be listed.
pub(in crate::server) fn whole_group(group: Pid) -> Vec<Member> {
    match rustix::process::test_kill_process_group(group) {
        Ok(()) => vec![Member { pid: group, in_group: true, start: 0 }],
        Err(_) => Vec::new(),
    }
}

/// The PIDs, separated by spaces.
pub(in crate::server) fn join(pids: impl IntoIterator<Item = Pid>) -> String {
    let pids: Vec<String> = pids.into_iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    pids.join(" ")
}

/// Sends a signal to the members: to the group at once while anybody is in it, because its members cannot
/// fork away from a group signal, and to each member that left the group.
pub(in crate::server) fn send(signal: Signal, group: Pid, members: &[Member]) {
    if members.iter().any(|member| member.in_group) {
        // It may have ended since it was listed.
        let _ = kill_process_group(group, signal);
    }
    for member in members.iter().filter(|member| !member.in_group) {
        let _ = kill_process(member.pid, signal);
    }
}

/// Whether a member holds one of the sockets; `None` where their open files cannot be read.
#[cfg(target_os = "linux")]
fn holds(members: &[Member], sockets: &std::collections::HashSet<u64>) -> Option<bool> {
    use procfs::process::{FDTarget, Process};

    let mut unreadable = false;
    for member in members {
        let files = Process::new(member.pid.as_raw_nonzero().get()).and_then(|process| process.fd());
        match files {
            Ok(mut files) => {
                let held = files.any(|file| {
                    matches!(file, Ok(file) if matches!(file.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
                });
                if held {
                    return Some(true);
                }
            }
            Err(procfs::ProcError::PermissionDenied(_)) => unreadable = true,
            // It ended meanwhile.
            Err(_) => {}
        }
    }
    (!unreadable).then_some(false)
}

/// Who listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Listener {
    /// Nobody listens.
    Nobody,
    /// A process of the tree.
    Ours,
    /// A process outside the tree.
    Foreign,
    /// Cannot be known on this machine.
    Unknown,
}

/// The listening TCP sockets of this machine; `None` where they cannot be listed.
#[cfg(target_os = "linux")]
fn listening() -> Option<Vec<procfs::net::TcpNetEntry>> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    if tables.iter().all(Result::is_err) {
        return None;
    }
    let entries = tables.into_iter().flatten().flatten();
    Some(entries.filter(|entry| entry.state == procfs::net::TcpState::Listen).collect())
}

/// The TCP ports on which the tree listens, ascending; empty where that cannot be known.
#[cfg(target_os = "linux")]
pub(in crate::server) fn ports(guard: Pid, group: Pid) -> std::collections::BTreeSet<u16> {
    let members = members(guard, group).unwrap_or_default();
    let sockets = listening().unwrap_or_default().into_iter();
    sockets
        .filter(|socket| holds(&members, &[socket.inode].into()) == Some(true))
        .map(|socket| socket.local_address.port())
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(in crate::server) fn ports(_guard: Pid, _group: Pid) -> std::collections::BTreeSet<u16> {
    std::collections::BTreeSet::new()
}

/// Who listens on a TCP port of this machine.
#[cfg(target_os = "linux")]
pub(in crate::server) fn listener(port: u16, guard: Pid, group: Pid) -> Listener {
    let Some(sockets) = listening() else {
        return Listener::Unknown;
    };
    let sockets: std::collections::HashSet<u64> = sockets
        .into_iter()
        .filter(|socket| socket.local_address.port() == port)
        .map(|socket| socket.inode)
        .collect();
    if sockets.is_empty() {
        return Listener::Nobody;
    }
    let held = members(guard, group).and_then(|members| holds(&members, &sockets));
    match held {
        Some(true) => Listener::Ours,
        Some(false) => Listener::Foreign,
        None => Listener::Unknown,
    }
}

/// Who listens on a TCP port of this machine.
#[cfg(not(target_os = "linux"))]
pub(in crate::server) fn listener(_port: u16, _guard: Pid, _group: Pid) -> Listener {
    Listener::Unknown
}
