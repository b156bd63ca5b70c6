//! Where the numbers are unstable: ridges, cliffs, dips, long tails, repeats that disagree.

mod dip;
mod humps;
mod repeats;
mod ridge;
mod row;
mod step;
mod tail;
#[cfg(test)]
mod tests;

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule::Several(ridge::ridges),
    Rule::Several(ridge::tail_ridges),
    Rule::Several(step::cliffs),
    Rule::Several(dip::dips),
    Rule::Several(step::falls),
    Rule::Several(repeats::disagreements),
    Rule::Block(humps::bimodal),
    Rule::Block(tail::stalls),
    Rule::Block(tail::long_tail),
    Rule::Block(repeats::not_steady),
    Rule::Block(repeats::precision),
    Rule::Block(repeats::noise),
    Rule::Block(tail::tails),
];
