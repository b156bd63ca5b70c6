//! What this process took of memory at most, bytes; zero where the kernel does not tell.

#[cfg(target_os = "linux")]
pub(crate) fn peak() -> u64 {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.unwrap().vmhwm.unwrap() << 10
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peak() -> u64 {
    0
}
