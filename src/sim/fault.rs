//! Which requests meet which fault, and when the server as a whole fails, on request.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::manifest::{AnswerFault, Faults, Moment};

/// Faults that end an answer early; the first of those drawn counts.
const ENDINGS: [AnswerFault; 10] = [
    AnswerFault::HttpError,
    AnswerFault::Redirect,
    AnswerFault::Empty,
    AnswerFault::Cut,
    AnswerFault::Stall,
    AnswerFault::ErrorEvent,
    AnswerFault::Abort,
    AnswerFault::Malformed,
    AnswerFault::NoDone,
    AnswerFault::NoEnd,
];

/// What is wrong with one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn([bool; AnswerFault::ALL.len()]);

impl Drawn {
    /// Whether a fault was drawn.
    pub(super) fn has(self, fault: AnswerFault) -> bool {
        self.0[fault as usize]
    }

    /// How it ends, when not as it should.
    pub(super) fn ending(self) -> Option<AnswerFault> {
        ENDINGS.into_iter().find(|fault| self.has(*fault))
    }
}

/// What becomes of the server as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    OutOfMemory,
    Crash,
    Hang,
}

/// The faults of one server, and how many requests came.
pub(super) struct Trouble {
    faults: Faults,
    seed: u64,
    ready: Instant,
    asked: watch::Sender<u64>,
}

impl Trouble {
    /// The trouble of a server that became ready now.
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, seed, ready: Instant::now(), asked: watch::Sender::new(0) }
    }

    /// The status of a refusal.
    pub(super) fn http_status(&self) -> u16 {
        self.faults.http_status
    }

    /// A request arrives: what will be wrong with its answer.
    pub(super) fn next(&self) -> Drawn {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            number = *asked;
            *asked += 1;
        });
        self.drawn(number)
    }

    fn drawn(&self, number: u64) -> Drawn {
        let mut drawn = Drawn::default();
        for (fault, share) in &self.faults.answers.0 {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            // A stream per fault: what one draws does not depend on which others there are.
            random.set_stream(*fault as u64);
            random.set_word_pos(u128::from(number));
            drawn.0[*fault as usize] = f64::from(random.next_u32()) < share * 2f64.powi(32);
        }
        drawn
    }

    /// Waits until the server as a whole is to fail.
    pub(super) async fn fate(&self) -> Fate {
        tokio::select! {
            biased;
            () = self.reached(self.faults.out_of_memory) => Fate::OutOfMemory,
            () = self.reached(self.faults.crash) => Fate::Crash,
            () = self.reached(self.faults.hang) => Fate::Hang,
        }
    }

    async fn reached(&self, moment: Option<Moment>) {
        let Moment { at_request, after } = moment.unwrap_or_default();
        let request = async {
            match at_request {
                Some(number) => {
                    let mut asked = self.asked.subscribe();
                    // The sender lives as long as this borrow.
                    let _ = asked.wait_for(|asked| *asked >= number).await;
                }
                None => std::future::pending().await,
            }
        };
        let time = async {
            match after {
                Some(span) => sleep_until(self.ready + span.duration()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = request => {}
            () = time => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest::AnswerFaults, unit::TimeSpan};

    fn trouble(shares: &[(AnswerFault, f64)], seed: u64) -> Trouble {
        let faults = Faults { answers: AnswerFaults(shares.iter().copied().collect()), ..Faults::default() };
        Trouble::new(faults, seed)
    }

    #[tokio::test]
    async fn a_share_of_requests_is_drawn_from_the_seed_each_fault_for_itself() {
        let hit = |trouble: &Trouble, fault| -> Vec<bool> {
            (0..10_000).map(|n| trouble.drawn(n).has(fault)).collect()
        };
        let alone = trouble(&[(AnswerFault::Cut, 0.1)], 3);
        let cuts = hit(&alone, AnswerFault::Cut);
        let count = cuts.iter().filter(|cut| **cut).count();
        assert!((900..1100).contains(&count), "{count}");
        let both = trouble(&[(AnswerFault::Cut, 0.1), (AnswerFault::Crlf, 0.1)], 3);
        assert_eq!(hit(&both, AnswerFault::Cut), cuts);
        assert_ne!(hit(&both, AnswerFault::Crlf), cuts);
        assert_ne!(hit(&trouble(&[(AnswerFault::Cut, 0.1)], 4), AnswerFault::Cut), cuts);
        assert!(hit(&trouble(&[(AnswerFault::Cut, 1.0)], 3), AnswerFault::Cut).iter().all(|cut| *cut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fate_comes_with_its_request_or_at_its_time() {
        let mut faults = Faults {
            crash: Some(Moment { at_request: Some(3), after: None }),
            hang: Some(Moment { at_request: None, after: Some(TimeSpan::from_secs(5)) }),
            ..Faults::default()
        };
        let trouble = Trouble::new(faults.clone(), 1);
        let began = Instant::now();
        assert_eq!(trouble.fate().await, Fate::Hang);
        assert_eq!(began.elapsed().as_secs(), 5);
        faults.hang = None;
        let trouble = Trouble::new(faults, 1);
        trouble.next();
        trouble.next();
        let mut fate = std::pin::pin!(trouble.fate());
        tokio::select! {
            biased;
            _ = &mut fate => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        trouble.next();
        assert_eq!(fate.await, Fate::Crash);
    }
}
