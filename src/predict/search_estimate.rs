//! Estimates what the searches of a plan take: probes, server starts, time and money.

use std::{fmt, path::Path, time::Duration};

use serde::Serialize;

use super::{
    Placement,
    estimate::usd_per_hour,
    expect::{Expectation, Tried},
    parallel::on_all_cores,
    virtual_search::Strictness,
};
use crate::{
    plan::{Goal, Plan, Search},
    search::{self, State},
    unit::TimeSpan,
};

/// What a search takes, each as the least and the most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchEstimate {
    /// The search's id.
    pub search: String,
    /// Values that are measured.
    pub probes: [u32; 2],
    /// Servers that are started.
    pub starts: [u32; 2],
    /// Predicted duration of the requests, in seconds; absent where GPU or model are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<[f64; 2]>,
    /// Their price in US dollars, where the price of the GPUs is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<[f64; 2]>,
}

/// Estimates each search of a plan, in its order.
///
/// Where the GPU and the model are known, the search runs in virtual time: as predicted, and with every latency
/// at either end of its 90 % interval, each time with the expectation that a run would begin with. Otherwise,
/// and once `may_continue` returns false, the numbers are the bounds of the algorithm.
pub fn estimate_searches(
    placement: &Placement<'_>,
    plan: &Plan,
    spill: &Path,
    may_continue: &(dyn Fn() -> bool + Sync),
) -> Vec<SearchEstimate> {
    let expectation = Expectation { placement, plan, spill, may_continue };
    on_all_cores(&plan.searches, |search| {
        let tried = expectation.tried(search);
        let ended = |one: &Tried| !matches!(one.answer.state, State::Unfinished);
        if tried.is_empty() || !tried.iter().all(ended) {
            let bounds = search::bounds(search);
            let id = search.id.clone();
            return SearchEstimate {
                search: id,
                probes: bounds.probes,
                starts: bounds.starts,
                seconds: None,
                usd: None,
            };
        }
        let seconds = range(tried.iter().map(|one| one.seconds));
        let price = tried.first().and_then(|one| usd_per_hour(placement.manifest, &one.placed));
        SearchEstimate {
            search: search.id.clone(),
            probes: range(tried.iter().map(|one| one.probes)),
            starts: range(tried.iter().map(|one| one.answer.starts)),
            seconds: Some(seconds),
            usd: price.map(|price| seconds.map(|seconds| price * seconds / 3600.0)),
        }
    })
}

/// The least and the most.
fn range<T: PartialOrd + Copy + Default>(all: impl Iterator<Item = T> + Clone) -> [T; 2] {
    let least = all.clone().reduce(|a, b| if b < a { b } else { a });
    let most = all.reduce(|a, b| if b > a { b } else { a });
    [least.unwrap_or_default(), most.unwrap_or_default()]
}

impl SearchEstimate {
    /// What all searches take together; `None` unless there are several.
    pub fn total(all: &[Self]) -> Option<Self> {
        let sum = |which: fn(&Self) -> [u32; 2]| {
            all.iter().map(which).fold([0, 0], |sum, own| [sum[0] + own[0], sum[1] + own[1]])
        };
        let sum_of = |which: fn(&Self) -> Option<[f64; 2]>| {
            all.iter()
                .map(which)
                .try_fold([0.0, 0.0], |sum, own| own.map(|own| [sum[0] + own[0], sum[1] + own[1]]))
        };
        (all.len() > 1).then(|| Self {
            search: "all searches".to_owned(),
            probes: sum(|own| own.probes),
            starts: sum(|own| own.starts),
            seconds: sum_of(|own| own.seconds),
            usd: sum_of(|own| own.usd),
        })
    }
}

impl fmt::Display for SearchEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probes = counted(self.probes, "probe");
        let starts = counted(self.starts, "server start");
        write!(f, "{}: {probes}, {starts}", self.search)?;
        if let Some(seconds) = self.seconds.filter(|seconds| seconds[1] > 0.0) {
            let [least, most] =
                seconds.map(|seconds| TimeSpan::from(Duration::from_secs(seconds.ceil() as u64)).to_string());
            let span = if least == most { most } else { format!("{least} to {most}") };
            write!(f, ", {span} of requests")?;
        }
        if let Some([least, most]) = self.usd.filter(|usd| usd[1] > 0.0) {
            write!(f, " (${least:.2} to ${most:.2})")?;
        }
        Ok(())
    }
}

fn counted([least, most]: [u32; 2], what: &str) -> String {
    let plural = if most == 1 { "" } else { "s" };
    match least == most {
        true => format!("{most} {what}{plural}"),
        false => format!("{least} to {most} {what}{plural}"),
    }
}

impl Expectation<'_> {
    /// The runs in virtual time that a search may come to; empty where nothing can be predicted.
    fn tried(&self, search: &Search) -> Vec<Tried> {
        let search = Search { expected: self.of(search), ..search.clone() };
        let accuracy = match &search.goal {
            Goal::Load { .. } | Goal::Value { .. } => self.accuracy(&search),
            // A search for the best server takes long even in virtual time.
            Goal::Best { .. } => None,
        };
        let each = Strictness::all(accuracy);
        each.iter().map(|slo| self.run(&search, *slo)).collect::<Option<_>>().unwrap_or_default()
    }
}
