//! How far a cell is from its SLO.

use super::probe::Ratio;
use crate::{
    manifest::Slo,
    measure::{Metric, Summary},
};

/// The term that is closest to its limit, or farthest beyond it; `None` where no term was measured.
pub(super) fn ratio(summary: &Summary, slo: &Slo) -> Option<Ratio> {
    let each = slo.0.iter().filter_map(|term| {
        let measured = Metric::of_term(term).of(summary)?;
        Some(Ratio { log: (measured / term.limit.as_ms()).ln(), error: 0.03, binding: term.key() })
    });
    each.max_by(|a, b| a.log.total_cmp(&b.log))
}
