//! Injected faults: those of single answers, and those of the server.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::manifest::{AnswerFault, Faults, Moment};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DrawnFaults([bool; AnswerFault::ALL.len()]);

impl DrawnFaults {
    pub(super) fn has(self, fault: AnswerFault) -> bool {
        self.0[fault as usize]
    }

    /// The fault that ends the answer early: the first of those that were drawn.
    pub(super) fn ending(self) -> Option<AnswerFault> {
        AnswerFault::ALL.into_iter().find(|fault| fault.ends_answer() && self.has(*fault))
    }
}

/// A fault of the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerFault {
    OutOfMemory,
    Crash,
    Hang,
}

/// The faults of one server, and the number of requests so far.
pub(super) struct FaultPlan {
    faults: Faults,
    seed: u64,
    ready: Instant,
    requests: watch::Sender<u64>,
}

impl FaultPlan {
    /// The faults of a server that is ready now.
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, seed, ready: Instant::now(), requests: watch::Sender::new(0) }
    }

    pub(super) fn http_status(&self) -> u16 {
        self.faults.http_status
    }

    /// Counts a request and draws its faults.
    pub(super) fn next(&self) -> DrawnFaults {
        let mut number = 0;
        self.requests.send_modify(|requests| {
            number = *requests;
            *requests += 1;
        });
        self.drawn(number)
    }

    fn drawn(&self, number: u64) -> DrawnFaults {
        let mut drawn = DrawnFaults::default();
        for (fault, share) in &self.faults.answers.0 {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            // One stream per fault, so that faults do not affect each other.
            random.set_stream(*fault as u64);
            random.set_word_pos(u128::from(number));
            drawn.0[*fault as usize] = f64::from(random.next_u32()) < share * 2f64.powi(32);
        }
        drawn
    }

    /// Waits for the moment of the first fault of the server.
    pub(super) async fn server_fault(&self) -> ServerFault {
        tokio::select! {
            biased;
            () = self.reached(self.faults.out_of_memory) => ServerFault::OutOfMemory,
            () = self.reached(self.faults.crash) => ServerFault::Crash,
            () = self.reached(self.faults.hang) => ServerFault::Hang,
        }
    }

    async fn reached(&self, moment: Option<Moment>) {
        let Moment { at_request, after } = moment.unwrap_or_default();
        let request = async {
            match at_request {
                Some(number) => {
                    let mut requests = self.requests.subscribe();
                    // The sender outlives this borrow, so that waiting cannot fail.
                    let _ = requests.wait_for(|requests| *requests >= number).await;
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

    fn faults(shares: &[(AnswerFault, f64)], seed: u64) -> FaultPlan {
        let faults = Faults { answers: AnswerFaults(shares.iter().copied().collect()), ..Faults::default() };
        FaultPlan::new(faults, seed)
    }

    #[tokio::test]
    async fn each_fault_draws_its_share_of_the_requests_from_the_seed() {
        let hit = |faults: &FaultPlan, fault| -> Vec<bool> {
            (0..10_000).map(|n| faults.drawn(n).has(fault)).collect()
        };
        let alone = faults(&[(AnswerFault::Cut, 0.1)], 3);
        let cuts = hit(&alone, AnswerFault::Cut);
        let count = cuts.iter().filter(|cut| **cut).count();
        assert!((900..1100).contains(&count), "{count}");
        let both = faults(&[(AnswerFault::Cut, 0.1), (AnswerFault::Crlf, 0.1)], 3);
        assert_eq!(hit(&both, AnswerFault::Cut), cuts);
        assert_ne!(hit(&both, AnswerFault::Crlf), cuts);
        assert_ne!(hit(&faults(&[(AnswerFault::Cut, 0.1)], 4), AnswerFault::Cut), cuts);
        assert!(hit(&faults(&[(AnswerFault::Cut, 1.0)], 3), AnswerFault::Cut).iter().all(|cut| *cut));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_fault_happens_at_its_request_or_at_its_time() {
        let mut faults = Faults {
            crash: Some(Moment { at_request: Some(3), after: None }),
            hang: Some(Moment { at_request: None, after: Some(TimeSpan::from_secs(5)) }),
            ..Faults::default()
        };
        let plan = FaultPlan::new(faults.clone(), 1);
        let began = Instant::now();
        assert_eq!(plan.server_fault().await, ServerFault::Hang);
        assert_eq!(began.elapsed().as_secs(), 5);
        faults.hang = None;
        let plan = FaultPlan::new(faults, 1);
        plan.next();
        plan.next();
        let mut fault = std::pin::pin!(plan.server_fault());
        tokio::select! {
            biased;
            _ = &mut fault => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        plan.next();
        assert_eq!(fault.await, ServerFault::Crash);
    }
}
