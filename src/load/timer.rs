//! Waits for an instant more precisely than tokio's timer.
//!
//! Tokio's timer has a resolution of one millisecond, which at 1,000 arrivals per second is a whole gap. A
//! `timerfd` wakes the same thread through the same `epoll` within microseconds, without another thread and
//! without spinning.

use tokio::time::{Instant, sleep_until};

/// The timer that an open loop waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Tokio's, up to a millisecond late. Works under tokio's paused time.
    Runtime,
    /// The kernel's `timerfd` on Linux; elsewhere tokio's.
    Kernel,
}

pub(super) enum Clock {
    Runtime,
    #[cfg(target_os = "linux")]
    Kernel(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
}

impl Clock {
    /// Opens the timer; falls back to tokio's when the kernel provides none.
    pub(super) fn new(timer: Timer) -> Self {
        match timer {
            Timer::Runtime => Self::Runtime,
            Timer::Kernel => Self::kernel().unwrap_or(Self::Runtime),
        }
    }

    #[cfg(target_os = "linux")]
    fn kernel() -> Option<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        let interest = tokio::io::Interest::READABLE;
        #[expect(
            deprecated,
            reason = "its replacement is `unsafe`, because a type may lie about its descriptor; this one owns it"
        )]
        let timer = tokio::io::unix::AsyncFd::with_interest(timer, interest).ok()?;
        Some(Self::Kernel(timer))
    }

    #[cfg(not(target_os = "linux"))]
    fn kernel() -> Option<Self> {
        None
    }

    /// Waits until `at`; returns at once when it has passed.
    pub(super) async fn until(&self, at: Instant) {
        match self {
            Self::Runtime => sleep_until(at).await,
            #[cfg(target_os = "linux")]
            Self::Kernel(timer) => {
                if kernel_until(timer, at).await.is_err() {
                    sleep_until(at).await;
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
async fn kernel_until(
    timer: &tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    at: Instant,
) -> rustix::io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    loop {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?,
        };
        // Setting it again also clears an expiration that was not read.
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        let mut ready = timer.readable().await.map_err(|_| rustix::io::Errno::IO)?;
        let mut expirations = [0; 8];
        match rustix::io::read(timer, &mut expirations) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}
