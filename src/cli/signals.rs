//! Interrupts: the first ends a run cleanly, the second at once.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Waits for Ctrl-C, TERM or HUP. The first calls `interrupt`, the second `abort`.
pub(super) async fn watch(interrupt: impl FnOnce(), abort: impl FnOnce()) {
    // A limit on the size of files then fails the write that exceeds it, as a full disk does. The handler
    // stays installed.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let (sender, mut interrupts) = mpsc::channel(1);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // `nohup`, and a shell that starts a background job, have signals ignored.
        if is_ignored(kind) {
            continue;
        }
        let Ok(mut stream) = signal(kind) else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(()).await.is_ok() {} });
    }
    drop(sender);
    if interrupts.recv().await.is_some() {
        interrupt();
    }
    if interrupts.recv().await.is_some() {
        abort();
    }
}

/// Whether this process was started with a signal ignored.
#[cfg(target_os = "linux")]
fn is_ignored(kind: SignalKind) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign >> (kind.as_raw_value() - 1) & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
fn is_ignored(_kind: SignalKind) -> bool {
    false
}
