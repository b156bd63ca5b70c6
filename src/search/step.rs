//! What a search measures next, and what it found.

use super::{
    answer::{Answer, Decision, State},
    best, load,
    probe::{Next, Users, probes},
    value,
};
use crate::{
    plan::{Goal, Group, Search},
    store::StoredRun,
};

/// What a search measures next; `None` when it has its answer. The same stored cells give the same step.
pub fn next(run: &StoredRun, search: &Search) -> Option<Next> {
    decide(run, search).next
}

/// The answers of a run, in the order of the plan's searches.
pub fn answers(run: &StoredRun) -> Vec<Answer> {
    run.plan.searches.iter().map(|search| decide(run, search).answer).collect()
}

/// What a search measures next, and what it found so far.
pub fn decide(run: &StoredRun, search: &Search) -> Decision {
    let probes = probes(run, search, &|group| users(run, group));
    match &search.goal {
        Goal::Load { .. } => load::decide(search, &probes),
        Goal::Value { .. } => value::decide(search, &probes),
        Goal::Best { .. } => best::decide(search, &probes, run.plan.experiment.seed),
    }
}

/// The most load that a server carries, summed over the searches on it; `None` while one goes on.
fn users(run: &StoredRun, group: &Group) -> Option<Users> {
    let mut most = 0.0;
    for search in run.plan.searches.iter().filter(|search| search.server.as_ref() == Some(&group.id)) {
        let answer = decide(run, search).answer;
        match answer.state {
            State::Unfinished => return None,
            State::None => {}
            State::CannotTell => return Some(Users::Unknown(answer.reason)),
            State::Found | State::All | State::Wide => match answer.feasible {
                Some(load) => most += load,
                None => return Some(Users::Unknown(answer.reason)),
            },
        }
    }
    Some(Users::Most(most))
}
