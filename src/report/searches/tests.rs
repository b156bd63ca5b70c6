//! The sentence of every kind of answer, and the first page that it leads.

use serde_json::{Value, json};

use super::fixtures::{self, Kind};
use crate::{
    manifest::{Find, LoadAxis, SearchObjective, That},
    plan::{Expected, Goal},
    report::{Shown, model::Model, show_model},
    search::{Answer, Ending, Evidence, Ratio, State},
    store::StoredRun,
};

fn shown(run: &StoredRun, answers: Vec<Answer>) -> Shown {
    match show_model(&Model::with(run, answers), None) {
        Ok(shown) => shown,
        Err(findings) => panic!("{}", findings.render(false)),
    }
}

fn capacity(run: &StoredRun, answers: Vec<Answer>) -> String {
    let notes = shown(run, answers).notes;
    notes.into_iter().find(|note| note.file == "capacity.md").expect("the note").text
}

/// What the first page says of its searches: everything before the first chart, without the title.
fn page(run: &StoredRun, answers: Vec<Answer>) -> String {
    let text = capacity(run, answers);
    let page = text.split("![").next().unwrap().split("<details>").next().unwrap();
    page.split_once('\n').unwrap().1.trim().to_owned()
}

/// The values of the searches of a run.
fn values(run: &StoredRun, answers: Vec<Answer>) -> Vec<Value> {
    let words = crate::report::finding::Words::new(None).unwrap();
    super::said(&Model::with(run, answers), &words)
        .unwrap_or_else(|own| panic!("{}", own.render(false)))
        .searches
}

/// The sentences of a single search: the answer, and those below it.
fn sentences(run: &StoredRun, answer: Answer) -> Vec<String> {
    let all = values(run, vec![answer]);
    let notes = all[0]["notes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    std::iter::once(text(&all[0]["text"])).chain(notes.map(text)).collect()
}

#[test]
fn the_first_page_leads_with_the_most_users() {
    let (run, answer) = fixtures::found();
    insta::assert_snapshot!(page(&run, vec![answer]));
}

#[test]
fn the_first_page_leads_with_the_longest_context() {
    let (run, answer) = fixtures::longest();
    insta::assert_snapshot!(page(&run, vec![answer]));
}

#[test]
fn the_first_page_leads_with_the_best_server() {
    let (run, answer) = fixtures::tune();
    insta::assert_snapshot!(page(&run, vec![answer]));
}

#[test]
fn several_searches_of_one_name_are_a_table() {
    let (run, answers) = fixtures::several();
    insta::assert_snapshot!(page(&run, answers));
}

/// Every answer of a load, by the state it ended in.
fn loads() -> Vec<(&'static str, StoredRun, Answer)> {
    let (run, found) = fixtures::found();
    let base = Answer { expected: None, ..found.clone() };
    let mut all = vec![("found", run.clone(), found.clone())];
    let mut add = |name, answer| all.push((name, run.clone(), answer));
    add("slope", Answer { ending: Some(Ending::Slope), ..base.clone() });
    add("no ending", Answer { ending: None, binding: None, ..base.clone() });
    add("errors", Answer { binding: Some("errors".into()), ending: None, ..base.clone() });
    add("memory", Answer { binding: Some("oom under load".into()), ending: None, ..base.clone() });
    add("crash", Answer { binding: Some("crashed under load".into()), ending: None, ..base.clone() });
    add("not monotone", Answer { monotone: Some(false), ..base.clone() });
    let expected = |low, high| Some(Expected { value: (low + high) / 2.0, low, high });
    add("predicted too low", Answer { expected: expected(40.0, 90.0), ..base.clone() });
    add("predicted too high", Answer { expected: expected(150.0, 200.0), ..base.clone() });
    add(
        "wide",
        Answer {
            state: State::Wide,
            feasible: Some(112.0),
            infeasible: Some(128.0),
            reason: "the latency varies by 20 % from run to run".into(),
            ..base.clone()
        },
    );
    add(
        "cannot tell",
        Answer {
            state: State::CannotTell,
            feasible: Some(64.0),
            infeasible: None,
            reason: "3 measurements of 112 users are invalid (client_late).".into(),
            ..base.clone()
        },
    );
    add("unfinished", Answer { state: State::Unfinished, reason: String::new(), ..base.clone() });
    add(
        "unfinished below",
        Answer {
            state: State::Unfinished,
            infeasible: None,
            reason: "the budget is spent".into(),
            ..base.clone()
        },
    );
    let empty = Answer { probes: Vec::new(), starts: 0, requests: 0, wasted: 0, ..base.clone() };
    add("not begun", Answer { state: State::Unfinished, feasible: None, infeasible: None, ..empty });
    let mut simulated = run.clone();
    simulated.cells.iter_mut().for_each(|cell| cell.simulated = true);
    all.push(("simulated", simulated, base));

    let (run, answer) = fixtures::most_users(&[(1, 40.0, Kind::Early), (1000, 310.0, Kind::Early)]);
    let answer =
        Answer { state: State::All, feasible: Some(1000.0), found: Some(vec![json!(1000)]), ..answer };
    all.push(("all", run, Answer { expected: expected(700.0, 900.0), ..answer }));
    let (run, answer) = fixtures::most_users(&[(1, 640.0, Kind::Early)]);
    let answer = Answer { state: State::None, infeasible: Some(1.0), ..answer };
    all.push(("none", run, Answer { binding: Some("p95_ttft".into()), ..answer }));
    let (run, mut answer) = fixtures::most_users(&[(1, 640.0, Kind::Early)]);
    answer.probes[0].evidence = Evidence::Measured(Ratio { log: 2.0, error: 0.1, binding: "errors".into() });
    all.push(("none for errors", run, Answer { state: State::None, infeasible: Some(1.0), ..answer }));
    all
}

/// Every answer of a server axis, by the state it ended in.
fn contexts() -> Vec<(&'static str, StoredRun, Answer)> {
    let (run, found) = fixtures::longest();
    let mut all = vec![("found", run.clone(), found.clone())];
    let with = |change: &dyn Fn(&mut Goal)| {
        let mut answer = found.clone();
        change(&mut answer.search.goal);
        answer
    };
    let that = |own| {
        with(&|goal| {
            if let Goal::Value { that, .. } = goal {
                *that = own;
            }
        })
    };
    let mut add = |name, answer| all.push((name, run.clone(), answer));
    let mut failing = |name, that_is, binding: &str| {
        let mut answer = that(that_is);
        answer.probes[2].evidence = Evidence::Fails { binding: binding.into(), hint: None };
        add(name, answer);
    };
    failing("survives", That::Survives, "oom under load");
    failing("survives a crash", That::Survives, "crashed under load");
    failing("meets the SLO", That::MeetsSlo, "p95_ttft of chat");
    failing("too small", That::Fits, "does_not_fit");
    failing("no step", That::Fits, "oom at start");
    let smallest = with(&|goal| {
        if let Goal::Value { find, column, step, integer, from, to, .. } = goal {
            (*find, *column, *step, *integer) =
                (Find::Smallest, "gpu-memory-utilization".into(), 0.01, false);
            (*from, *to) = (0.5, 0.95);
        }
    });
    let smallest = Answer { feasible: Some(0.6), infeasible: Some(0.59), ..smallest };
    add("smallest", smallest.clone());
    add(
        "wide",
        Answer {
            state: State::Wide,
            infeasible: Some(0.5),
            reason: "the starts are spent".into(),
            ..smallest
        },
    );
    add("all", Answer { state: State::All, infeasible: None, feasible: Some(131_072.0), ..found.clone() });
    add("none", Answer { state: State::None, feasible: None, found: None, ..found.clone() });
    let open = Answer { state: State::Unfinished, found: None, ..found.clone() };
    add("unfinished", open.clone());
    add("not begun", Answer { feasible: None, infeasible: None, probes: Vec::new(), ..open.clone() });
    let reason = "3 starts at 11,264 ended for another reason: port 8000 is taken".into();
    add("cannot tell", Answer { state: State::CannotTell, reason, ..open });
    let expected = Some(Expected { value: 10_240.0, low: 9216.0, high: 11_264.0 });
    add("predicted", Answer { expected, ..found });
    all
}

/// Every answer of a search for the best server.
fn tunes() -> Vec<(&'static str, StoredRun, Answer)> {
    let (run, found) = fixtures::tune();
    let mut all = vec![("found", run.clone(), found.clone())];
    let mut add = |name, answer| all.push((name, run.clone(), answer));
    let by = |own| {
        let mut answer = found.clone();
        if let Goal::Best { objective, .. } = &mut answer.search.goal {
            *objective = own;
        }
        answer
    };
    let mut users = by(SearchObjective::MostUsers);
    users.candidates[0].objective = Some(118.0);
    add("most users", users);
    let mut goodput = by(SearchObjective::Goodput);
    goodput.candidates[0].objective = Some(36.25);
    add("goodput", goodput);
    let reason = String::from("the budget is spent");
    add("unfinished", Answer { state: State::Unfinished, reason, ..found.clone() });
    add(
        "nothing yet",
        Answer { state: State::Unfinished, found: None, candidates: Vec::new(), ..found.clone() },
    );
    add("none yet", Answer { state: State::Unfinished, found: None, ..found.clone() });
    add("none", Answer { state: State::None, found: None, ..found.clone() });
    let reason = "every server failed to start".into();
    add("cannot tell", Answer { state: State::CannotTell, found: None, reason, ..found.clone() });
    let one = Answer { candidates: found.candidates[..1].to_vec(), ..found };
    add("one", one);
    all
}

#[test]
fn every_answer_has_its_sentences() {
    let mut lines = Vec::new();
    for (kind, cases) in [("load", loads()), ("value", contexts()), ("best", tunes())] {
        for (name, run, answer) in cases {
            for text in sentences(&run, answer) {
                for odd in ["  ", " .", " ,", "..", "NaN", "{{", "undefined", "\n", "::", " 1 users"] {
                    assert!(!text.contains(odd), "{kind} {name}: {odd:?} in {text:?}");
                }
                assert!(text.ends_with('.'), "{kind} {name}: {text:?}");
                assert!(text.chars().next().is_some_and(|c| !c.is_whitespace()), "{text:?}");
                lines.push(format!("{kind}, {name}: {text}"));
            }
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_rate_has_its_own_words() {
    let (run, mut answer) = fixtures::found();
    answer.search.goal =
        Goal::Load { axis: LoadAxis::Rate, from: 0.5, to: 50.0, within: 0.05, confidence: 0.9 };
    (answer.feasible, answer.infeasible) = (Some(12.5), Some(13.04));
    assert_eq!(
        sentences(&run, answer)[0],
        "chat meets its SLO up to between 12.5 and 13.0 requests per second (90 % confidence); p95 TTFT is the \
         limit, and it ends in a cliff."
    );
}

#[test]
fn the_first_page_of_searches_is_short() {
    let cases = loads().into_iter().chain(contexts()).chain(tunes());
    let several = fixtures::several();
    let cases = cases.map(|(_, run, answer)| (run, vec![answer])).chain([several]);
    for (run, answers) in cases {
        let text = page(&run, answers);
        let (lines, words) = (text.lines().count(), text.split_whitespace().count());
        assert!(lines <= 60 && words <= 450, "{lines} lines, {words} words:\n{text}");
    }
}

/// The findings of a run with searches, by kind.
fn kinds(run: &StoredRun, answers: Vec<Answer>) -> Vec<&'static str> {
    let found = crate::report::finding::findings(&Model::with(run, answers));
    found.iter().map(|own| own.kind.name()).collect()
}

#[test]
fn the_probes_of_a_load_make_no_false_findings() {
    let (run, answer) = fixtures::found();
    let said = kinds(&run, vec![answer.clone()]);
    // What a grid would say of these cells.
    for wrong in
        ["limit", "edge", "scaling", "knee", "ttft_growth", "latency_growth", "few_samples", "excluded"]
    {
        assert!(!said.contains(&wrong), "{wrong}: {said:?}");
    }
    let grid = kinds(&run, Vec::new());
    assert!(["excluded", "limit", "scaling"].iter().all(|own| grid.contains(own)), "{grid:?}");
    // The recommended cell is the one that the search found, and not one above it that happens to be good.
    let model = Model::with(&run, vec![answer]);
    let best = &model.cells[model.ranking(model.best(0).unwrap()).first().unwrap()];
    assert_eq!(best.load.configured, Some(118.0));
    // The invalid probe is listed and not looked at.
    assert_eq!((model.cells.len(), model.workloads[0].cells.len()), (8, 7));
    let early = &model.cells[0];
    assert!(early.shown(crate::measure::Metric::P95_TTFT).is_some());
    assert_eq!(early.ranked(crate::measure::Metric::P95_TTFT), None);
    assert_eq!(early.ranked(crate::measure::Metric::OUTPUT), None);
}

#[test]
fn chance_above_the_answer_is_no_recommendation() {
    let mut tried = fixtures::BRACKET;
    // At 124 users this probe happens to be within the SLO; the search knows better.
    tried[6].1 = 470.0;
    let (run, answer) = fixtures::most_users(&tried);
    let answer = Answer { state: State::Found, feasible: Some(118.0), infeasible: Some(124.0), ..answer };
    let model = Model::with(&run, vec![answer.clone()]);
    let ranking = model.ranking(model.best(0).unwrap());
    assert_eq!(model.cells[ranking.first().unwrap()].load.configured, Some(118.0));
    let none = Answer { state: State::CannotTell, ..answer };
    let model = Model::with(&run, vec![none]);
    assert_eq!(model.best(0), None);
}

#[test]
fn a_server_that_only_started_has_no_numbers_and_is_no_failure() {
    let (run, answer) = fixtures::longest();
    let text = capacity(&run, vec![answer.clone()]);
    assert!(text.contains("0 of 3 have numbers; 1 only tried the start of a server"), "{text}");
    for wrong in ["nothing was measured", "| started |", "No instability", "Not measured yet"] {
        assert!(!text.contains(wrong), "{wrong} is in\n{text}");
    }
    assert!(text.contains("| does not fit |") && text.contains("| oom |"), "{text}");
    let shown = shown(&run, vec![answer]);
    assert!(shown.notes.iter().all(|note| note.file != "playbook.md"));
    assert!(shown.page.contains("\"search\":\"context\""));
}

#[test]
fn planned_probes_that_a_finished_search_needs_no_more_are_not_missing() {
    let (mut run, answer) = fixtures::found();
    run.cells.pop();
    let text = capacity(&run, vec![answer.clone()]);
    assert!(!text.contains("Not measured yet") && text.contains("7 of 7 have numbers"), "{text}");
    let open = Answer { state: State::Unfinished, ..answer };
    let text = capacity(&run, vec![open]);
    assert!(text.contains("Not measured yet: the run ended before it.") && text.contains("7 of 8"), "{text}");
}

#[test]
fn a_workload_beside_a_search_keeps_its_answer() {
    let (mut run, answer) = fixtures::found();
    let grid = crate::report::fixtures::streamed();
    for mut cell in grid.cells {
        cell.id = cell.id.replace("chat", "batch");
        cell.workload = "batch".into();
        run.cells.push(cell);
    }
    let text = page(&run, vec![answer]);
    let [search, grid] =
        ["chat meets its SLO up to", "users of batch within the SLO"].map(|own| text.find(own));
    assert!(search.is_some() && search < grid, "{text}");
    assert!(!text.contains("users of chat within"), "{text}");
    assert!(text.contains("[More](capacity-chat.md)"), "{text}");
}

#[test]
fn the_searches_of_the_candidates_are_not_on_the_page() {
    let (run, tune) = fixtures::tune();
    let mut tune = tune;
    if let Goal::Best { objective, .. } = &mut tune.search.goal {
        *objective = SearchObjective::MostUsers;
    }
    let mut own = fixtures::unfinished(fixtures::load_search(LoadAxis::Concurrency, 100.0));
    own.search.server = Some("qwen-256-2048".into());
    let all = values(&run, vec![own.clone(), tune.clone()]);
    assert_eq!((&all[0]["is_part"], &all[1]["is_part"]), (&json!(true), &json!(false)));
    assert!(!page(&run, vec![own, tune]).contains("The search for the most users"));
}

#[test]
fn a_search_among_several_without_a_narrow_answer_says_why() {
    let (run, mut answers) = fixtures::several();
    answers[1].state = State::Wide;
    answers[1].reason = "the latency varies from run to run".into();
    answers[2].state = State::CannotTell;
    answers[2].reason = "every probe is invalid.".into();
    let text = page(&run, answers);
    for said in [
        "| 128 | 61 to 64 (wide) | p95 TTFT (gradual) | 8 |",
        "| 256 | cannot tell |",
        "- At max_tokens 128: the latency varies from run to run.",
        "- At max_tokens 256: every probe is invalid.",
    ] {
        assert!(text.replace('\\', "").contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn a_simulated_answer_goes_on_behind_its_colon() {
    for (run, answer) in [fixtures::longest(), fixtures::tune()] {
        let mut run = run;
        run.cells.iter_mut().for_each(|cell| cell.simulated = true);
        let text = sentences(&run, answer).remove(0);
        assert!(text.starts_with("Simulated, not measured: the "), "{text}");
    }
}
