//! What the tokens cost, and which cells are worth choosing between.

use super::{Facts, Finding, Kind, Rule, Unit, place, usd_per_million};
use crate::{
    measure::{Metric, Rate},
    report::{
        model::{Block, Cell, Met, Model, Ranking, SAME, falls_behind, front, is_beyond, meets},
        statistics::largest,
    },
};

pub(super) const RULES: &[Rule] = &[Rule::Block(cost), Rule::Block(goodput), Rule::Block(pareto)];

/// The fewest cells on a front that leave a choice.
const CHOICE: usize = 3;

/// The throughput by which a cell is priced: only what it can sustain.
fn priced(cell: &Cell<'_>) -> Option<f64> {
    cell.ranked(Metric::OUTPUT).filter(|rate| *rate > 0.0 && !falls_behind(cell))
}

/// The price of a million output tokens at the recommended cell, if it meets the SLO, and at the cheapest
/// cell that does.
fn cost(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let per_hour = model.usd_per_hour()?;
    let ranking = model.ranking(at);
    let own = &model.cells[ranking.first()?];
    if matches!(ranking.met, Met::No | Met::Contradicted) {
        return None;
    }
    let rate = priced(own)?;
    let fact = |cell: &Cell<'_>, rate: f64| {
        Facts::new()
            .number("usd", usd_per_million(model, cell), Unit::Usd, 3)
            .place("place", place(model, cell))
            .measure("rate", Metric::OUTPUT, rate, model.digits(&[cell.index]))
    };
    let cheaper = cheaper(model, block, ranking, own, rate);
    let facts = fact(own, rate)
        .number("usd_per_hour", per_hour, Unit::Usd, 3)
        .flag("has_slo", !block.slo.0.is_empty())
        .facts("cheapest", cheaper.map(|(cell, most)| fact(cell, most).times("ratio", rate / most, 2)));
    let cells = [own.index].into_iter().chain(cheaper.map(|(cell, _)| cell.index));
    Some(Finding::of_block(Kind::Cost, model, at, cells).with(facts))
}

/// The cell within the SLO with the highest throughput, if it is cheaper than the recommended one beyond
/// chance.
fn cheaper<'m, 'a>(
    model: &'m Model<'a>,
    block: &'m Block<'_>,
    ranking: &Ranking,
    own: &Cell<'a>,
    rate: f64,
) -> Option<(&'m Cell<'a>, f64)> {
    let within = |cell: &&Cell<'_>| meets(block.slo, cell, ranking.trust) && !is_beyond(block.slo, cell);
    let known = model.usable(block).filter(within).filter_map(|cell| Some((cell, priced(cell)?)));
    let (cell, top) = largest(known.clone())?;
    let log = (top / rate).ln();
    let doubt = model.noise(block.workload).of_ratio(cell, own, Metric::OUTPUT);
    (log >= SAME && doubt.is_beaten_by(log, known.count())).then_some((cell, top))
}

/// The highest goodput, and how many other cells are within 5 % of it.
fn goodput(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let goodput = Metric::Rate(Rate::Goodput);
    let known = model.usable(block).filter_map(|cell| Some((cell, cell.ranked(goodput)?)));
    let (cell, top) = largest(known.clone())?;
    let facts = Facts::new()
        .count("of", known.clone().count())
        .measure("value", goodput, top, model.digits(&[cell.index]))
        .flag("is_none", top <= 0.0);
    if top <= 0.0 {
        let cells = known.map(|(cell, _)| cell.index);
        return Some(Finding::of_block(Kind::Goodput, model, at, cells).with(facts));
    }
    let as_good = known.filter(|(_, value)| *value > 0.0 && (top / value).ln() < SAME);
    let all = cell.ranked(Metric::Rate(Rate::Requests)).filter(|all| *all > 0.0);
    let facts = facts
        .place("place", place(model, cell))
        .count("as_good", as_good.count() - 1)
        .part("part", all.map(|all| (top / all).min(1.0)));
    Some(Finding::of_block(Kind::Goodput, model, at, [cell.index]).with(facts))
}

/// The Pareto front, and the number of cells that a cell of the front beats in both metrics beyond chance.
fn pareto(model: &Model<'_>, at: usize, block: &Block<'_>) -> Option<Finding> {
    let front = front(model, block).filter(|front| front.of >= CHOICE)?;
    let brings = block.brings?;
    let point = |cell: &Cell<'_>| {
        let digits = model.digits(&[cell.index]);
        Facts::new()
            .place("place", place(model, cell))
            .measure("latency", front.latency, cell.ranked(front.latency), digits)
            .measure("rate", brings, cell.ranked(brings), digits)
    };
    let noise = model.noise(block.workload);
    let tests = front.of * front.points.len();
    let beats = |own: &Cell<'_>, other: &Cell<'_>, metric: Metric, sign: f64| {
        let pair = own.ranked(metric).zip(other.ranked(metric));
        let log = pair.map(|(own, other)| (own / other).ln() * sign);
        log.is_some_and(|log| log > 0.0 && noise.of_ratio(own, other, metric).is_beaten_by(log, tests))
    };
    let on = model.cells_at(&front.points);
    let is_beaten = |cell: &&Cell<'_>| {
        on.clone().any(|own| beats(own, cell, front.latency, -1.0) && beats(own, cell, brings, 1.0))
    };
    let facts = Facts::new()
        .metric("latency", front.latency)
        .metric("brings", brings)
        .count("on", front.points.len())
        .count("of", front.of)
        .count("beaten", model.usable(block).filter(is_beaten).count())
        .list("points", on.clone().map(point));
    Some(Finding::of_block(Kind::Pareto, model, at, front.points.iter().copied()).with(facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{
            finding::{Fact, sentences},
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
        Rule::Block(super::cost).apply(&Model::of(run)).into_iter().next().map(|finding| finding.facts)
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
        let own = sentences::found(&model, RULES);
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
        assert_eq!(own.len(), 3);
        let mut run = priced_run();
        for cell in &mut run.cells {
            cell.summary.as_mut().unwrap().goodput_req_s = Some(0.0);
            cell.verdicts = vec![fixtures::verdict("token_counts", "metric", &["throughput"])];
        }
        let model = Model::of(&run);
        assert_eq!(Rule::Block(goodput).apply(&model)[0].facts.get("is_none"), Some(&Fact::Flag(true)));
        assert_eq!(Rule::Block(super::cost).apply(&model), []);
    }
}
