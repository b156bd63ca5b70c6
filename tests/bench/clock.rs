//! Clocks that several processes share, and which processor they run on.

use std::io;

use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// Nanoseconds of the machine's monotonic clock: the same in every process.
pub(crate) fn now() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Nanoseconds that this process has spent on processors.
pub(crate) fn cpu() -> u64 {
    nanos(ClockId::ProcessCPUTime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Keeps this process, and what it starts, on one processor.
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

/// Resident memory of this process, now and at most, bytes.
pub(crate) fn memory() -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let status = procfs::process::Process::myself()?.status()?;
    let bytes = |kib: Option<u64>| kib.map(|kib| kib * 1024).ok_or("no memory in /proc/self/status");
    Ok((bytes(status.vmrss)?, bytes(status.vmhwm)?))
}
