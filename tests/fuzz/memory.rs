//! This process's peak memory in bytes, or zero where the kernel does not report it.

#[cfg(target_os = "linux")]
pub(crate) fn peak() -> u64 {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.unwrap().vmhwm.unwrap() << 10
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peak() -> u64 {
    0
}
