//! What each server axis does, everything else equal, and which servers are as good as the best.

use super::{Coordinate, Facts, Finding, Kind, Rule, Unit, place, place_on};
use crate::{
    measure::Metric,
    plan::Role,
    report::{
        metrics::RATES,
        model::{Cell, Change, Effect, Judgement, Level, Model},
    },
};

pub(super) const RULES: &[Rule] = &[Rule::Run(effects), Rule::Workload(tie)];

/// The most changes of a level that its sentence names; the others are evidence only.
const NAMED: usize = 2;
/// Servers this close to the best one are as good.
const NEAR: f64 = 0.95;

fn effects(model: &Model<'_>) -> Vec<Finding> {
    let workloads = 0..model.workloads.len();
    workloads.flat_map(|workload| model.effects(workload)).map(|own| effect(model, own)).collect()
}

fn effect(model: &Model<'_>, effect: &Effect) -> Finding {
    let axis = &model.axes[effect.axis];
    let mut cells: Vec<usize> = changes(effect)
        .flat_map(|change| change.pairs.iter().flat_map(|pair| [pair.base, pair.cell]))
        .collect();
    cells.sort_unstable();
    cells.dedup();
    let digits = model.digits(&cells);
    let mut compared: Vec<Metric> = Vec::new();
    for change in changes(effect) {
        if !compared.contains(&change.metric) {
            compared.push(change.metric);
        }
    }
    let facts = Facts::new()
        .name("axis", axis.label())
        .axis_value("base", axis, effect.base)
        .count("pairs", changes(effect).map(|change| change.pairs.len()).max().unwrap_or_default())
        .count("values", effect.levels.len() + 1)
        .flag("is_numeric", axis.is_numeric())
        .flag("is_none", effect.is_none())
        .when(effect.levels.last(), |facts, last| facts.axis_value("last", axis, last.value))
        .names("metrics", compared.iter().map(|metric| metric.label()))
        // For an axis that does nothing: how far a median is from no change; if that is not clear, how far
        // pairs are.
        .when(compared.first(), |facts, metric| {
            let own = || changes(effect).filter(|change| change.metric == *metric);
            let log = own().map(|own| own.ratio.ln().abs()).fold(0.0, f64::max);
            facts
                .metric("metric", *metric)
                .number("within_percent", (log.exp_m1() * 100.0).ceil().max(1.0), Unit::Count, 2)
                .times("least", own().map(|own| own.least).fold(f64::INFINITY, f64::min), digits)
                .times("most", own().map(|own| own.most).fold(0.0, f64::max), digits)
        })
        .facts("lead", lead(effect).map(|lead| leading(model, effect, lead, digits)))
        .when(effect.optimum, |facts, optimum| facts.axis_value("optimum", axis, optimum))
        .list("levels", effect.levels.iter().map(|level| self::level(model, effect, level, digits)));
    let finding = Finding::of_workload(Kind::Effect, effect.workload, cells).with(facts);
    Finding { strength: effect.strength(), ..finding }
}

fn changes(effect: &Effect) -> impl Iterator<Item = &Change> {
    effect.levels.iter().flat_map(|level| &level.changes)
}

/// The level that matters most: the optimum inside of a range, else the one with the strongest change, of
/// equal ones the first; `None` if nothing differs.
fn lead(effect: &Effect) -> Option<&Level> {
    let optimum = effect.levels.iter().find(|level| Some(level.value) == effect.optimum);
    let strength = |level: &&Level| level.changes.iter().map(Change::strength).fold(0.0, f64::max);
    let by = |a: &&Level, b: &&Level| strength(a).total_cmp(&strength(b));
    let strongest = || effect.levels.iter().rev().max_by(by).filter(|level| strength(level) > 0.0);
    optimum.or_else(strongest)
}

/// The leading level with the changes that its sentence names, and the same metric at the other levels.
fn leading(model: &Model<'_>, effect: &Effect, lead: &Level, digits: u8) -> Facts {
    let axis = &model.axes[effect.axis];
    let is_rate = |change: &&Change| matches!(change.metric, Metric::Rate(_));
    let mut named: Vec<&Change> = lead.changes.iter().filter(|change| change.strength() > 0.0).collect();
    named.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
    // Throughput comes first, however little it changes.
    named.sort_by_key(|change| !is_rate(change));
    named.truncate(NAMED);
    let rate = lead.changes.iter().find(is_rate).filter(|rate| rate.strength() == 0.0);
    Facts::new()
        .axis_value("value", axis, lead.value)
        .list("changes", named.iter().map(|own| change(model, effect, own, digits)))
        .when(named.first(), |facts, first| {
            let at = |level: &Level| {
                let own = level.changes.iter().find(|own| own.metric == first.metric)?;
                let facts = Facts::new().axis_value("value", axis, level.value);
                Some(facts.times("ratio", own.ratio, digits).name("judgement", own.judgement.name()))
            };
            let others = effect.levels.iter().filter(|level| level.value != lead.value);
            facts.list("others", others.filter_map(at))
        })
        .when(rate, |facts, rate| {
            let rate = Facts::new().metric("metric", rate.metric).name("judgement", rate.judgement.name());
            facts.facts("rate", rate)
        })
}

fn level(model: &Model<'_>, effect: &Effect, level: &Level, digits: u8) -> Facts {
    Facts::new()
        .axis_value("value", &model.axes[effect.axis], level.value)
        .list("changes", level.changes.iter().map(|own| change(model, effect, own, digits)))
}

fn change(model: &Model<'_>, effect: &Effect, change: &Change, digits: u8) -> Facts {
    let facts = Facts::new()
        .metric("metric", change.metric)
        .flag("is_cost", change.metric.is_cost())
        .times("ratio", change.ratio, digits)
        .times("least", change.least, digits)
        .times("most", change.most, digits)
        .count("pairs", change.pairs.len())
        .name("judgement", change.judgement.name())
        .when(extremes(model, change), |facts, (least, most)| {
            facts.place("least_at", least).place("most_at", most)
        });
    match change.judgement {
        Judgement::Same | Judgement::Unclear | Judgement::Differs => facts,
        Judgement::Crossover { from, to, before, after } => {
            let is_open = change.pairs.iter().any(|pair| model.cells[pair.cell].load.is_open);
            facts
                .name("load", if is_open { "rate" } else { "concurrency" })
                .plain("from", from)
                .plain("to", to)
                .times("before", before, digits)
                .times("after", after, digits)
        }
        Judgement::Confined { axis, from, to, ratio, elsewhere } => {
            let place = |value: usize| confined_place(model, effect, change, axis, value);
            facts
                .times("there", ratio, digits)
                .times("elsewhere", elsewhere, digits)
                .place("from", place(from))
                .place("to", (to != from).then(|| place(to)))
        }
    }
}

/// Where the least and the largest ratio of some pairs are, if one pair has each.
fn extremes(model: &Model<'_>, change: &Change) -> Option<(Vec<Coordinate>, Vec<Coordinate>)> {
    let at = |ratio: f64| {
        let mut own = change.pairs.iter().filter(|pair| pair.ratio == ratio);
        let first = own.next().filter(|_| own.next().is_none())?;
        Some(place(model, &model.cells[first.cell])).filter(|place| !place.is_empty())
    };
    at(change.least).zip(at(change.most))
}

/// The place of the pairs with one value of an axis.
fn confined_place(
    model: &Model<'_>,
    effect: &Effect,
    change: &Change,
    axis: usize,
    value: usize,
) -> Vec<Coordinate> {
    let mut cells = change.pairs.iter().map(|pair| &model.cells[pair.cell]);
    let cell = cells.find(|cell| cell.at[axis] == Some(value));
    cell.map_or_else(Vec::new, |cell| place_on(model, cell, |own| own == axis && own != effect.axis))
}

/// The name of a block's server: its value if one axis varies, else its values on all axes.
fn name(model: &Model<'_>, block: usize) -> String {
    let server = model.blocks[block].server;
    let only = match model.server_axes()[..] {
        [axis] => server.and_then(|server| Some(model.axes[axis].text(model.server_at(server, axis)?))),
        _ => None,
    };
    only.unwrap_or_else(|| model.server_label(server))
}

/// The servers that are as good as the best one. If all are because no axis makes a difference, the findings
/// on the axes say it.
fn tie(model: &Model<'_>, workload: usize) -> Option<Finding> {
    let tied = model.tied(workload);
    let all = &model.workloads[workload].blocks;
    let effects = model.effects(workload).iter();
    let mut axes = effects.filter(|effect| model.axes[effect.axis].role == Role::Server).peekable();
    if tied.len() < 2 || (tied.len() == all.len() && axes.peek().is_some() && axes.all(Effect::is_none)) {
        return None;
    }
    let picks: Vec<(usize, &Cell<'_>)> = tied
        .iter()
        .filter_map(|block| Some((*block, &model.cells[model.ranking(*block).first()?])))
        .collect();
    let metric =
        RATES.into_iter().find(|metric| picks.iter().all(|(_, cell)| cell.ranked(*metric).is_some()))?;
    let rates = || picks.iter().filter_map(|(_, cell)| cell.ranked(metric));
    let (most, least) = (rates().max_by(f64::total_cmp)?, rates().min_by(f64::total_cmp)?);
    let cells: Vec<usize> = picks.iter().map(|(_, cell)| cell.index).collect();
    let digits = model.digits(&cells);
    let only = Some(model.server_axes()).filter(|axes| axes.len() == 1);
    let facts = Facts::new()
        .count("servers", picks.len())
        .count("of", all.len())
        .names("names", picks.iter().map(|(block, _)| name(model, *block)))
        .metric("metric", metric)
        .measure("most", metric, most, digits)
        .measure("least", metric, least, digits)
        .flag("is_near", least >= NEAR * most)
        .place("place", place(model, picks.first()?.1))
        .when(only, |facts, axes| facts.name("axis", model.axes[axes[0]].label()));
    Some(Finding::of_workload(Kind::Tie, workload, cells).with(facts))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        report::{
            finding::{Fact, Words},
            fixtures::{self, Dice},
        },
        store::StoredRun,
    };

    const LOADS: [u32; 4] = [1, 2, 4, 8];

    fn grid(values: &[Value], noise: f64, seed: u64, planted: impl Fn(usize, u32) -> f64) -> StoredRun {
        let mut dice = Dice::new(seed);
        fixtures::servers("max-num-batched-tokens", values, (&LOADS, &[64]), |nth, users, _| {
            let own = planted(nth, users) * dice.factor(noise);
            vec![(own, 1.0 / own)]
        })
    }

    /// The only effect of a run, its evidence, and what its sentence is.
    fn only(run: &StoredRun) -> (Finding, String) {
        let model = Model::of(run);
        let mut found = effects(&model);
        assert_eq!(found.len(), 1, "{found:?}");
        let sentence = Words::new(None).unwrap().say(&model, &found).unwrap();
        (found.remove(0), sentence.concat())
    }

    fn lead(finding: &Finding, name: &str) -> Option<Value> {
        let lead = finding.facts.json()["lead"].clone();
        lead["changes"].get(0)?.get(name).cloned()
    }

    fn numbers() -> Vec<Value> {
        [1024, 2048, 4096, 8192].map(|value| json!(value)).to_vec()
    }

    #[test]
    fn an_axis_that_does_nothing_is_none() {
        let (found, sentence) = only(&grid(&numbers(), 0.005, 1, |_, _| 1.0));
        assert_eq!(found.facts.get("is_none"), Some(&Fact::Flag(true)), "{sentence}");
        assert!(found.facts.get("lead").is_none());
        assert!(found.facts.value("within_percent") <= Some(2.0));
        assert!(found.strength.abs() < f64::EPSILON && !sentence.is_empty());
    }

    #[test]
    fn a_planted_effect_is_found_with_its_size() {
        for noise in [0.0, 0.01, 0.02] {
            for values in [vec![json!(false), json!(true)], numbers()] {
                let last = values.len() - 1;
                let (found, sentence) =
                    only(&grid(&values, noise, 3, |nth, _| if nth == last { 1.25 } else { 1.0 }));
                let ratio = lead(&found, "ratio").and_then(|own| own.as_f64()).unwrap();
                assert!((ratio - 1.25).abs() < 0.05, "{sentence}");
                assert_eq!(lead(&found, "metric"), Some(json!("throughput")));
                assert_eq!(lead(&found, "judgement"), Some(json!("differs")));
                assert!((found.strength - 1.25_f64.ln()).abs() < 0.05, "{found:?}");
            }
        }
    }

    #[test]
    fn a_crossover_is_found_where_it_is() {
        for (ratios, before) in [([1.6, 1.6, 0.6, 0.6], 1.6), ([1.6, 1.25, 0.8, 0.6], 1.41)] {
            let turns = |nth: usize, users: u32| match nth {
                0 => 1.0,
                _ => ratios[users.ilog2() as usize],
            };
            let (found, sentence) = only(&grid(&[json!("a"), json!("b")], 0.01, 5, turns));
            assert_eq!(lead(&found, "judgement"), Some(json!("crossover")), "{sentence}");
            assert_eq!(lead(&found, "from"), Some(json!(2.0)), "{sentence}");
            assert_eq!(lead(&found, "to"), Some(json!(4.0)), "{sentence}");
            let own = lead(&found, "before").and_then(|own| own.as_f64()).unwrap();
            assert!((own - before).abs() < 0.05, "{sentence}");
        }
    }

    #[test]
    fn a_change_at_one_load_is_told_with_its_place() {
        let (found, sentence) =
            only(&grid(
                &[json!("a"), json!("b")],
                0.0,
                5,
                |nth, users| if nth == 1 && users == 8 { 0.1 } else { 1.0 },
            ));
        assert_eq!(lead(&found, "judgement"), Some(json!("confined")), "{sentence}");
        assert_eq!(lead(&found, "from"), Some(json!({ "concurrency": "8" })));
        assert_eq!(lead(&found, "elsewhere"), Some(json!(1.0)));
    }

    #[test]
    fn the_best_value_inside_of_a_range_leads() {
        let (found, sentence) = only(&grid(&numbers(), 0.01, 5, |nth, _| [1.0, 1.3, 1.8, 1.2][nth]));
        assert_eq!(found.facts.value("optimum"), Some(4096.0), "{sentence}");
        assert_eq!(found.facts.json()["lead"]["value"], json!(4096.0));
    }

    #[test]
    fn noise_is_no_effect() {
        for noise in [0.05, 0.1] {
            for repeats in [1, 3] {
                let mut claims = Vec::new();
                for seed in 0..50 {
                    let mut dice = Dice::new(seed);
                    let at: (&[u32], &[u32]) = (&LOADS, &[64, 256]);
                    let run = fixtures::servers("max-num-batched-tokens", &numbers(), at, |_, _, _| {
                        let each = || {
                            let own = dice.factor(noise);
                            (own, 1.0 / own)
                        };
                        std::iter::repeat_with(each).take(repeats).collect()
                    });
                    let (found, sentence) = only(&run);
                    claims.extend((found.strength > 0.0).then_some(sentence));
                }
                // What was measured once is taken to differ by 5 %: twice that shows now and then.
                let most = if repeats == 1 && noise > 0.05 { 2 } else { 0 };
                assert!(claims.len() <= most, "{noise} {repeats}: {claims:#?}");
            }
        }
    }

    #[test]
    fn one_server_has_neither_effects_nor_ties() {
        let run = fixtures::streamed();
        let model = Model::of(&run);
        assert!(effects(&model).is_empty() && Rule::Workload(tie).apply(&model).is_empty());
    }

    #[test]
    fn a_tie_names_servers_that_are_as_good_and_no_others() {
        let run = grid(&numbers(), 0.0, 1, |nth, _| [1.0, 1.01, 0.99, 0.4][nth]);
        let model = Model::of(&run);
        let found = Rule::Workload(tie).apply(&model);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].facts.value("servers"), Some(3.0));
        assert_eq!(found[0].facts.get("is_near"), Some(&Fact::Flag(true)));
        assert_eq!(Words::new(None).unwrap().say(&model, &found).unwrap().len(), 1);
        // That the axis does nothing says it already.
        let run = grid(&numbers(), 0.0, 1, |_, _| 1.0);
        assert!(Rule::Workload(tie).apply(&Model::of(&run)).is_empty());
    }
}
