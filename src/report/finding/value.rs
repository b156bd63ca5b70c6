//! What it costs, and what is worth choosing from.

use super::{Facts, Finding, Kind, Rule, Unit, each_block, place};
use crate::{
    measure::{Metric, Rate},
    report::model::{Block, Cell, Met, Model, Ranking, SAME, falls_behind, front, is_beyond, meets},
};

pub(super) const RULES: &[Rule] = &[costs, goodputs, paretos];

/// Seconds of an hour: prices are per hour, rates per second.
const HOUR_S: f64 = 3600.0;
/// Prices are of so many tokens.
const TOKENS: f64 = 1e6;
/// A front of fewer cells than this is nothing to choose from.
const CHOICE: usize = 3;

/// The throughput that a cell may be priced by: what it can keep up.
fn priced(cell: &Cell<'_>) -> Option<f64> {
    cell.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0 && !falls_behind(cell))
}

/// The usable cells of a block of the kind that is ranked.
fn usable<'m, 'a>(model: &'m Model<'a>, block: &'m Block<'a>) -> impl Iterator<Item = &'m Cell<'a>> + Clone {
    let cells = block.cells.iter().map(|at| &model.cells[*at]);
    cells.filter(|cell| cell.is_usable() && Some(cell.origin) == block.origin)
}

/// The cell with most of something, of equal ones the first.
fn most<'m, 'a>(known: &[(&'m Cell<'a>, f64)]) -> Option<(&'m Cell<'a>, f64)> {
    known.iter().copied().reduce(|best, own| if own.1 > best.1 { own } else { best })
}

/// What a million output tokens cost at the recommended cell, where that is within the SLO, and at the
/// cheapest such one.
fn costs(model: &Model<'_>) -> Vec<Finding> {
    let Some(per_hour) = model.usd_per_hour() else { return Vec::new() };
    each_block(model, |at, block| {
        let ranking = model.ranking(at);
        let own = &model.cells[ranking.first()?];
        if matches!(ranking.met, Met::No | Met::Contradicted) {
            return None;
        }
        let rate = priced(own)?;
        let fact = |cell: &Cell<'_>, rate: f64| {
            Facts::new()
                .number("usd", per_hour / (rate * HOUR_S) * TOKENS, Unit::Usd, 3)
                .place("place", place(model, cell))
                .measure("rate", Metric::OUTPUT, rate, model.digits(&[cell.index]))
        };
        let mut facts = fact(own, rate)
            .number("usd_per_hour", per_hour, Unit::Usd, 3)
            .flag("has_slo", !block.slo.0.is_empty());
        let mut cells = vec![own.index];
        if let Some((cheapest, most)) = cheaper(model, block, ranking, own, rate) {
            let ratio = rate / most;
            facts = facts.facts("cheapest", fact(cheapest, most).times("ratio", ratio, 2));
            cells.push(cheapest.index);
        }
        Some(Finding::of_block(Kind::Cost, model, at, cells).with(facts))
    })
}

/// The cell within the SLO with most throughput, where it is cheaper than the recommended one beyond chance.
fn cheaper<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'a>,
    ranking: &Ranking,
    own: &Cell<'a>,
    rate: f64,
) -> Option<(&'m Cell<'a>, f64)> {
    let within = |cell: &&Cell<'_>| meets(block.slo, cell, ranking.trust) && !is_beyond(block.slo, cell);
    let known = usable(model, block).filter(within);
    let known: Vec<(&Cell<'_>, f64)> = known.filter_map(|cell| Some((cell, priced(cell)?))).collect();
    let (cell, top) = most(&known)?;
    let log = (top / rate).ln();
    let doubt = model.noise(block.workload).of_extreme(cell, &[own], Metric::OUTPUT);
    (log >= SAME && doubt.is_beaten_by(log, known.len())).then_some((cell, top))
}

/// Where most requests meet every target each second, and how many other cells are within 5 % of it.
fn goodputs(model: &Model<'_>) -> Vec<Finding> {
    let goodput = Metric::Rate(Rate::Goodput);
    each_block(model, |at, block| {
        let known = usable(model, block);
        let known: Vec<(&Cell<'_>, f64)> =
            known.filter_map(|cell| Some((cell, cell.ranked(goodput)?))).collect();
        let (cell, top) = most(&known)?;
        let mut facts =
            Facts::new().count("of", known.len()).measure("value", goodput, top, model.digits(&[cell.index]));
        if top <= 0.0 {
            let cells = known.iter().map(|(cell, _)| cell.index);
            return Some(
                Finding::of_block(Kind::Goodput, model, at, cells).with(facts.flag("is_none", true)),
            );
        }
        let is_as_good = |(_, value): &&(&Cell<'_>, f64)| *value > 0.0 && (top / value).ln() < SAME;
        facts = facts
            .flag("is_none", false)
            .place("place", place(model, cell))
            .count("as_good", known.iter().filter(is_as_good).count() - 1);
        if let Some(all) = cell.ranked(Metric::Rate(Rate::Requests)).filter(|all| *all > 0.0) {
            facts = facts.part("part", (top / all).min(1.0));
        }
        Some(Finding::of_block(Kind::Goodput, model, at, [cell.index]).with(facts))
    })
}

/// The Pareto front, and the cells that one of it beats in both beyond chance.
fn paretos(model: &Model<'_>) -> Vec<Finding> {
    each_block(model, |at, block| {
        let front = front(model, block).filter(|front| front.of >= CHOICE)?;
        let brings = block.brings?;
        let point = |cell: &Cell<'_>| {
            let digits = model.digits(&[cell.index]);
            Some(
                Facts::new()
                    .place("place", place(model, cell))
                    .measure("latency", front.latency, cell.ranked(front.latency)?, digits)
                    .measure("rate", brings, cell.ranked(brings)?, digits),
            )
        };
        let noise = model.noise(block.workload);
        let tests = front.of * front.points.len();
        let beats = |own: &Cell<'_>, other: &Cell<'_>, metric: Metric, sign: f64| {
            let log =
                own.ranked(metric).zip(other.ranked(metric)).map(|(own, other)| (own / other).ln() * sign);
            log.is_some_and(|log| log > 0.0 && noise.of_ratio(own, other, metric).is_beaten_by(log, tests))
        };
        let on = |place: &usize| &model.cells[*place];
        let is_beaten = |cell: &&Cell<'_>| {
            front
                .points
                .iter()
                .map(on)
                .any(|own| beats(own, cell, front.latency, -1.0) && beats(own, cell, brings, 1.0))
        };
        let facts = Facts::new()
            .metric("latency", front.latency)
            .metric("brings", brings)
            .count("on", front.points.len())
            .count("of", front.of)
            .count("beaten", usable(model, block).filter(is_beaten).count())
            .list("points", front.points.iter().map(on).filter_map(point));
        Some(Finding::of_block(Kind::Pareto, model, at, front.points.iter().copied()).with(facts))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{
            finding::{Fact, Words},
            fixtures,
        },
        store::StoredRun,
    };

    fn priced_run() -> StoredRun {
        let mut run = fixtures::streamed();
        run.plan.hardware = fixtures::grid().plan.hardware;
        run
    }

    fn cost(run: &StoredRun) -> Option<Facts> {
        costs(&Model::of(run)).into_iter().next().map(|finding| finding.facts)
    }

    #[test]
    fn the_recommended_cell_is_priced_and_never_one_that_misses_the_slo() {
        let run = priced_run();
        let facts = cost(&run).unwrap();
        // 8 users are faster and miss the SLO.
        assert_eq!(facts.value("rate"), Some(210.0));
        let usd = facts.value("usd").unwrap();
        assert!((usd - 0.24 / (210.0 * 3600.0) * 1e6).abs() < 1e-9, "{usd}");
        assert_eq!(facts.get("cheapest"), None);
        let mut run = priced_run();
        for cell in &mut run.cells {
            cell.summary.as_mut().unwrap().ttft = Some(fixtures::latency(200, 400.0, 900.0));
        }
        assert_eq!(cost(&run), None);
        run.plan.hardware.usd_per_hour = None;
        assert_eq!(cost(&run), None);
    }

    #[test]
    fn what_an_open_loop_does_not_keep_up_with_has_no_price() {
        let mut run = priced_run();
        for cell in &mut run.cells {
            cell.load.remove("concurrency");
            cell.axes.remove("concurrency");
            cell.load.insert("rate".into(), 100.into());
            cell.load.insert("arrivals".into(), "poisson".into());
        }
        assert_eq!(cost(&run), None);
    }

    #[test]
    fn a_cheaper_cell_is_named_where_it_is_cheaper_beyond_chance() {
        let mut run = priced_run();
        let slo: crate::manifest::Slo =
            serde_json::from_value(serde_json::json!({ "p95_ttft": "2s" })).unwrap();
        for cell in &mut run.cells {
            cell.slo = slo.clone();
            cell.repeats = vec![cell.summary.clone().unwrap(); 6];
        }
        // Most users, not most throughput, is what this workload wants.
        run.cells[3].summary.as_mut().unwrap().throughput_tok_s = Some(100.0);
        let facts = cost(&run).unwrap();
        let Some(Fact::Facts(cheapest)) = facts.get("cheapest") else { panic!("{facts:?}") };
        assert_eq!(cheapest.value("rate"), Some(210.0));
        run.cells[3].summary.as_mut().unwrap().throughput_tok_s = Some(205.0);
        assert_eq!(cost(&run).unwrap().get("cheapest"), None);
    }

    #[test]
    fn goodput_and_front_rest_on_what_may_be_ranked_and_have_words() {
        let run = priced_run();
        let model = Model::of(&run);
        let own: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&model)).collect();
        let facts = |kind| &own.iter().find(|finding| finding.kind == kind).unwrap().facts;
        assert_eq!(facts(Kind::Goodput).value("value"), Some(210.0 / 64.0));
        assert_eq!(
            (facts(Kind::Goodput).value("part"), facts(Kind::Goodput).value("as_good")),
            (Some(1.0), Some(0.0))
        );
        assert_eq!(
            (facts(Kind::Pareto).value("on"), facts(Kind::Pareto).value("of")),
            (Some(4.0), Some(4.0))
        );
        let said = Words::new(None).unwrap().say(&model, &own).unwrap();
        assert!(said.len() == 3 && said.iter().all(|sentence| !sentence.is_empty()), "{said:?}");
        let mut run = priced_run();
        for cell in &mut run.cells {
            cell.summary.as_mut().unwrap().goodput_req_s = Some(0.0);
            cell.verdicts = vec![fixtures::verdict("token_counts", "metric", &["throughput"])];
        }
        let model = Model::of(&run);
        assert_eq!(goodputs(&model)[0].facts.get("is_none"), Some(&Fact::Flag(true)));
        assert_eq!(costs(&model), []);
    }
}
