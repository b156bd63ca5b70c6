//! What is drawn of odd runs, and what a picture must say.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Chart, charts};
use crate::{
    manifest::Slo,
    measure::{CellOutcome, Point, Severity, Verdict, VerdictKind},
    report::{finding::Words, fixtures, model::Model, searches},
    search::{Answer, State},
    store::StoredRun,
};

fn drawn(run: &StoredRun) -> Vec<Chart> {
    drawn_with(run, Vec::new())
}

/// The pictures of a run with the answers of its searches.
fn drawn_with(run: &StoredRun, answers: Vec<Answer>) -> Vec<Chart> {
    let words = Words::new(None).expect("the built-in words");
    let charts = charts(&Model::with(run, answers), &words).expect("pictures");
    for chart in &charts {
        let svg = chart.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(balanced(&svg), "{svg}");
    }
    charts
}

/// Whether every element is closed by its own name: as much of XML as a writer can get wrong.
fn balanced(svg: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, _)) = part.split_once('>') else {
            return false;
        };
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.is_empty()
}

fn kinds(run: &StoredRun) -> Vec<&'static str> {
    drawn(run).iter().map(|chart| chart.kind).collect()
}

fn one(run: &StoredRun, kind: &str) -> String {
    let found = drawn(run).into_iter().find(|chart| chart.kind == kind);
    found.expect("the picture").svg()
}

/// A grid over five axes, two of them the server's; throughput follows all, most of all `max_tokens`.
fn five_axes(sizes: [u64; 5]) -> StoredRun {
    let mut run = fixtures::empty();
    run.plan.server_axes = vec!["dtype".into(), "max-num-seqs".into()];
    run.plan.load_axes = vec!["concurrency".into(), "max_tokens".into(), "temperature".into()];
    let slo: Slo = serde_json::from_value(json!({ "p95_ttft": "200ms" })).expect("an SLO");
    for dtype in 0..sizes[0] {
        for seqs in 0..sizes[1] {
            let id = format!("qwen-{dtype}-{seqs}");
            let axes = BTreeMap::from([
                ("dtype".to_owned(), json!(format!("kind{dtype}"))),
                ("max-num-seqs".to_owned(), json!(32 << seqs)),
            ]);
            let mut cells = Vec::new();
            for concurrency in 0..sizes[2] {
                for tokens in 0..sizes[3] {
                    for heat in 0..sizes[4] {
                        let users = 1 + concurrency as u32;
                        let mut cell = fixtures::cell(
                            &format!("chat-{dtype}-{seqs}-{users}-{tokens}-{heat}"),
                            &id,
                            users,
                            64 + 64 * tokens as u32,
                            &slo,
                        );
                        cell.axes.extend(axes.clone());
                        cell.axes.insert("temperature".into(), Value::from(heat));
                        let mut summary = fixtures::summary(200);
                        let users = f64::from(users);
                        summary.ttft = Some(fixtures::latency(200, 20.0 * users, 30.0 * users));
                        summary.throughput_tok_s = Some(100.0 * users * (1.0 + tokens as f64) + heat as f64);
                        cell.summary = Some(summary);
                        cells.push(cell);
                    }
                }
            }
            fixtures::add(&mut run, &id, axes, "ready", cells);
        }
    }
    run
}

#[test]
fn a_grid_has_its_pictures() {
    assert_eq!(kinds(&fixtures::grid()), ["throughput", "latency_throughput", "heat_map", "distributions"]);
    // Without a concurrency that varies a numeric axis of the server goes along.
    assert_eq!(
        kinds(&fixtures::oom_surface()),
        ["throughput", "latency_throughput", "heat_map", "distributions", "oom_surface"]
    );
}

/// The texts of a picture: class, where they begin and end by our own measure, and what they say.
fn texts(svg: &str) -> Vec<(String, f64, f64, String)> {
    let attribute = |tag: &str, name: &str| -> Option<String> {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    svg.split("<text")
        .skip(1)
        .filter_map(|part| {
            let (tag, rest) = part.split_once('>')?;
            let text = rest.split_once("</text>")?.0.to_owned();
            let class = attribute(tag, "class")?;
            let x: f64 = attribute(tag, "x")?.parse().ok()?;
            let size = match class.as_str() {
                "title" => 17.0,
                "key" | "note" => 12.0,
                _ => 13.0,
            };
            let wide = super::text::width(&text, size);
            let from = match attribute(tag, "text-anchor")?.as_str() {
                "middle" => x - wide / 2.0,
                "end" => x - wide,
                _ => x,
            };
            Some((class, from, from + wide, text))
        })
        .collect()
}

#[test]
fn every_picture_has_a_form_for_a_phone_that_nothing_is_cut_off_from() {
    let long = "a-workload-whose-name-says-everything-that-could-be-said-of-it";
    let mut named = fixtures::grid();
    for cell in &mut named.cells {
        cell.workload = long.into();
    }
    let runs = [named, fixtures::oom_surface(), five_axes([3, 2, 9, 2, 2]), fixtures::streamed()];
    let runs = runs.into_iter().map(|run| (run, Vec::new())).chain(searched());
    for (run, answers) in runs {
        for chart in drawn_with(&run, answers) {
            let page = chart.inline();
            let (wide, narrow) = page.split_once("</svg>").expect("two pictures");
            assert!(wide.contains("for-wide") && narrow.contains("for-narrow"));
            for (svg, most) in [(wide, 760.0), (narrow, 372.0)] {
                for (class, from, to, text) in texts(svg) {
                    assert!(
                        from >= -1.0 && to <= most + 1.0,
                        "{} {most}: {class} {text:?} from {from} to {to}",
                        chart.file
                    );
                }
            }
            // However long a name is, the title says what is shown.
            let title: String = texts(narrow)
                .into_iter()
                .filter(|(class, ..)| class == "title")
                .map(|(.., text)| text + " ")
                .collect();
            let what = chart.title.rsplit_once(": ").map_or("", |(_, what)| what);
            assert!(title.contains(what), "{title} {what}");
        }
    }
}

#[test]
fn a_line_is_not_drawn_across_a_cell_without_a_number() {
    let lines = |run: &StoredRun| one(run, "throughput").matches("class=\"line s0\"").count();
    let mut run = fixtures::streamed();
    assert_eq!((run.cells.len(), lines(&run)), (4, 1));
    run.cells[1].outcome = CellOutcome::Oom;
    run.cells[1].summary = None;
    // The first point stands alone; the line is that of the last two.
    let svg = one(&run, "throughput");
    let path =
        svg.split("<path d=\"").nth(1).and_then(|rest| rest.split_once('"')).map(|(path, _)| path.to_owned());
    assert_eq!(lines(&run), 1);
    assert_eq!(path.map(|path| path.matches(['M', 'L']).count()), Some(2));
    assert!(svg.contains(">no numbers</text>"));
}

#[test]
fn what_imported_numbers_are_is_said_and_no_model_leaves_no_trace() {
    let mut run = fixtures::grid();
    for cell in &mut run.cells {
        cell.verdicts.push(Verdict {
            kind: VerdictKind::Imported,
            severity: Severity::Note,
            touches: Vec::new(),
            reason: "another tool measured it".into(),
            hint: "compare it".into(),
        });
    }
    for group in &mut run.plan.groups {
        Arc::make_mut(&mut group.server).model = String::new();
    }
    let svg = one(&run, "throughput");
    assert!(svg.contains(">imported</text>") && !svg.contains(">measured</text>"));
    let sub = texts(&svg).into_iter().find(|(class, ..)| class == "sub");
    let sub = sub.map(|(.., text)| text).unwrap_or_default();
    assert!(!sub.ends_with(['·', ' ']) && !sub.contains("·  ·"), "{sub}");
}

#[test]
fn when_every_cell_failed_there_is_no_picture_rather_than_an_empty_one() {
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.outcome = CellOutcome::Failed;
        cell.summary = None;
    }
    assert_eq!(kinds(&run), Vec::<&str>::new());
    assert_eq!(kinds(&fixtures::empty()), Vec::<&str>::new());
}

#[test]
fn one_cell_has_its_distribution_and_timeline_only() {
    let mut run = fixtures::streamed();
    run.cells.truncate(1);
    run.cells[0].timeline =
        (0..5).map(|step| Point { t_s: f64::from(step), in_flight: 1.0, chunks_s: 10.0 }).collect();
    assert_eq!(kinds(&run), ["distributions", "timeline"]);
}

#[test]
fn numbers_that_may_not_be_ranked_are_hollow_and_said_with_their_samples() {
    let svg = one(&fixtures::grid(), "latency_throughput");
    assert!(svg.contains("class=\"hollow s0\"") && !svg.contains("class=\"f0\"/>\n</g>"), "{svg}");
    assert!(
        svg.contains("p95 TTFT: not ranked in 12 of 12 cells (few_samples); 16 samples per cell."),
        "{svg}"
    );
    assert!(svg.contains("p95 TTFT ≤ 1,500 ms"), "{svg}");
    // The throughput itself may be ranked.
    let svg = one(&fixtures::grid(), "throughput");
    assert!(svg.contains("class=\"f0\"") && !svg.contains("class=\"hollow s0\""), "{svg}");
}

#[test]
fn what_was_simulated_says_so_inside_the_picture() {
    let mut run = fixtures::streamed();
    for chart in drawn(&run) {
        assert!(!chart.svg().contains("SIMULATED"));
    }
    run.cells[0].simulated = true;
    for chart in drawn(&run) {
        assert!(chart.svg().contains(">PARTLY SIMULATED</text>"), "{}", chart.file);
    }
    for cell in &mut run.cells {
        cell.simulated = true;
    }
    for chart in drawn(&run) {
        assert!(chart.svg().contains(">SIMULATED</text>"), "{}", chart.file);
    }
}

#[test]
fn names_are_text_and_nothing_else() {
    let name = "</title><script>alert(1)</script> & \"chat\" \u{1b}[31m ![x](y)";
    let mut run = fixtures::streamed();
    for cell in &mut run.cells {
        cell.workload = name.into();
        cell.id = format!("{}\"><script>", cell.id);
    }
    run.plan.hardware = serde_json::from_value(json!({ "label": name })).expect("hardware");
    for chart in drawn(&run) {
        let svg = chart.svg();
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
        assert!(
            chart.file.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.'),
            "{}",
            chart.file
        );
    }
}

#[test]
fn of_five_axes_the_strongest_gives_the_series_and_the_rest_are_held_at_the_best_cell() {
    let run = five_axes([2, 2, 4, 3, 2]);
    let svg = one(&run, "throughput");
    for series in ["max_tokens 64", "max_tokens 128", "max_tokens 192"] {
        assert!(svg.contains(&format!(">{series}</text>")), "{series}: {svg}");
    }
    assert!(
        svg.contains(
            "The other axes are those of the best cell: temperature 1, dtype kind0, max-num-seqs 32."
        ),
        "{svg}"
    );
}

#[test]
fn ten_thousand_cells_are_thinned() {
    let run = five_axes([5, 4, 50, 5, 2]);
    assert_eq!(run.cells.len(), 10_000);
    for chart in drawn(&run) {
        let length = chart.svg().len();
        assert!(length < 400_000, "{} has {length} bytes", chart.file);
    }
}

#[test]
fn beyond_six_combinations_each_cell_keeps_a_colour_and_a_shape() {
    let run = five_axes([4, 3, 9, 2, 1]);
    let svg = one(&run, "latency_throughput");
    assert!(svg.contains("Colour and shape show "), "{svg}");
    // At most six groups, and no point in the grey of those that have none.
    let colours: Vec<usize> = (0..6)
        .filter(|index| {
            svg.contains(&format!("class=\"f{index}\""))
                || svg.contains(&format!("class=\"hollow s{index}\""))
        })
        .collect();
    assert!(colours.len() > 1, "{colours:?}");
}

#[test]
fn the_surface_shows_the_two_axes_along_which_memory_ends() {
    let svg = one(&fixtures::oom_surface(), "oom_surface");
    for text in ["fits", "OOM", "does not fit", "longest 12,352", "kv cache"] {
        assert!(svg.contains(&format!(">{text}</text>")), "{text}: {svg}");
    }
    let mut run = fixtures::oom_surface();
    run.plan.server_axes.insert(0, "dtype".into());
    for (index, group) in run.plan.groups.iter_mut().enumerate() {
        let kind = if index == 0 { "float32" } else { "bfloat16" };
        group.axes.insert("dtype".into(), json!(kind));
    }
    let svg = one(&run, "oom_surface");
    assert!(svg.contains("The other axes are held where the boundary shows best: dtype bfloat16."), "{svg}");
}

#[test]
fn the_same_run_gives_the_same_bytes_and_every_file_its_own_name() {
    let mut run = fixtures::grid();
    let mut other = fixtures::grid();
    for cell in &mut other.cells {
        cell.workload = "CHAT".into();
    }
    run.cells.extend(other.cells);
    let (first, second) = (drawn(&run), drawn(&run));
    assert_eq!(first, second);
    let mut files: Vec<&str> = first.iter().map(|chart| chart.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    assert_eq!(files.len(), first.len());
}

/// A verdict that excludes a cell altogether.
fn excluded() -> Verdict {
    Verdict {
        kind: VerdictKind::ClientSaturated,
        severity: Severity::Cell,
        touches: Vec::new(),
        reason: "the client was the limit".into(),
        hint: "use more cores".into(),
    }
}

/// The corners of the paths of a class.
fn corners(svg: &str, class: &str) -> Vec<usize> {
    let paths = svg.split("<path d=\"").skip(1).filter_map(|rest| rest.split_once("\" class=\""));
    let own = paths.filter(|(_, rest)| rest.starts_with(&format!("{class}\"")));
    own.map(|(path, _)| path.matches(['M', 'L']).count()).collect()
}

#[test]
fn a_cell_that_a_verdict_excludes_is_hollow_on_no_line_and_not_on_the_front() {
    let mut run = fixtures::streamed();
    assert_eq!(corners(&one(&run, "throughput"), "line s0"), [4]);
    assert_eq!(corners(&one(&run, "latency_throughput"), "line front"), [4]);
    run.cells[3].verdicts.push(excluded());
    let svg = one(&run, "throughput");
    assert_eq!((corners(&svg, "line s0"), svg.matches("hollow s0").count()), (vec![3], 1));
    let svg = one(&run, "latency_throughput");
    // The key has one, too.
    assert_eq!((corners(&svg, "line front"), svg.matches("hollow s5").count()), (vec![3], 2));
    // In the middle it parts the line.
    run.cells[1].verdicts.push(excluded());
    assert_eq!(corners(&one(&run, "throughput"), "line s0"), Vec::<usize>::new());
    // Of cells that are all excluded there is neither a line, nor a front, nor a best one.
    for cell in &mut run.cells {
        cell.verdicts = vec![excluded()];
    }
    for chart in drawn(&run) {
        let svg = chart.svg();
        let none = !svg.contains("\"line s0\"") && !svg.contains("line front") && !svg.contains("\"halo\"");
        assert!(none || chart.kind == "distributions", "{svg}");
        assert!(!svg.contains(">best cell</text>") && !svg.contains("class=\"area"), "{svg}");
    }
}

#[test]
fn cells_stand_at_the_load_they_reached() {
    let mut run = fixtures::streamed();
    let summary = run.cells[3].summary.as_mut().expect("a summary");
    summary.peak_in_flight = Some(5);
    let svg = one(&run, "throughput");
    assert!(svg.contains("<title>concurrency 5\n"), "{svg}");
    let x = |load: f64| 86.0 + (load.ln() / 8f64.ln()) * (svg_right(&svg) - 86.0);
    let marks: Vec<f64> = svg
        .split("class=\"mark\"")
        .skip(1)
        .filter_map(|mark| mark.split("cx=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    assert!((marks[3] - x(5.0)).abs() < 0.2, "{marks:?} {}", x(5.0));
}

/// Where the largest value of the horizontal axis stands.
fn svg_right(svg: &str) -> f64 {
    let ticks = texts(svg).into_iter().filter(|(class, .., text)| class == "tick" && text == "8");
    ticks.map(|(_, from, to, _)| (from + to) / 2.0).fold(0.0, f64::max)
}

#[test]
fn a_macro_of_one_s_own_takes_the_place_of_a_built_in_one_and_a_mistake_has_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = camino::Utf8Path::from_path(folder.path()).expect("a path");
    let run = fixtures::streamed();
    let with = |text: &str| {
        std::fs::write(path.join("charts.j2"), text).expect("a file");
        crate::report::show(&run, Some(path)).map(|shown| shown.charts)
    };
    let own =
        with("{% macro throughput_title(f) %}Tokens of {{ f.workload }}{% endmacro %}").expect("pictures");
    let titles: Vec<&str> = own.iter().map(|chart| chart.title.as_str()).collect();
    assert_eq!(titles[..2], ["Tokens of chat", "chat: latency against throughput"]);
    let wrong =
        with("{% macro throughput_title(f) %}\n{{ f.wrkload }}{% endmacro %}").expect_err("a mistake");
    assert_eq!(wrong.0.len(), 1, "{}", wrong.render(false));
    assert!(wrong.render(false).contains("charts.j2:2"), "{}", wrong.render(false));
}

#[test]
fn a_server_that_ends_under_load_lies_beyond_the_boundary() {
    let mut run = fixtures::oom_surface();
    run.cells[1].outcome = CellOutcome::Oom;
    run.servers[1].outcome = "ready".parse().expect("an outcome");
    let svg = one(&run, "oom_surface");
    assert!(svg.contains(">OOM under load</text>") && svg.contains(">1 of 1 cell</text>"), "{svg}");
    // Right of (4096, 32) and below (8192, 32).
    assert_eq!(svg.matches("class=\"edge\"").count(), 3, "{svg}");
}

/// A run with a search of each kind, and one with several of a name.
fn searched() -> Vec<(StoredRun, Vec<Answer>)> {
    let one = [searches::fixtures::found(), searches::fixtures::longest(), searches::fixtures::tune()];
    let one = one.into_iter().map(|(run, answer)| (run, vec![answer]));
    one.chain([searches::fixtures::several()]).collect()
}

/// The marks of a picture: the class of the shape, and the tooltip.
fn marks(svg: &str) -> Vec<(String, String)> {
    let marks = svg.split("<g class=\"mark\"").skip(1).map(|part| {
        let (mark, _) = part.split_once("</g>").expect("its end");
        let (_, title) = mark.split_once("<title>").expect("a tooltip");
        let (title, shape) = title.split_once("</title>").expect("its end");
        let shapes = shape.split("class=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let class = shapes.map(|(class, _)| class).find(|class| *class != "hit").unwrap_or_default();
        let element = if shape.contains("<path") {
            "path"
        } else if shape.contains("<line") {
            "cross"
        } else {
            "circle"
        };
        (format!("{element} {class}"), title.to_owned())
    });
    marks.collect()
}

#[test]
fn a_search_over_the_load_shows_its_probes_the_slo_and_the_bracket() {
    let (run, answer) = searches::fixtures::found();
    let charts = drawn_with(&run, vec![answer.clone()]);
    assert_eq!((charts[0].kind, charts[0].file.as_str()), ("search", "chat-search.svg"));
    assert_eq!(charts[0].title, "chat: most users within the SLO");
    let svg = charts[0].svg();
    let own = marks(&svg);
    assert_eq!(own.len(), 8);
    // Without colour: a circle works, a square does not, a cross says nothing, hollow ended early.
    assert_eq!(own[0].0, "circle hollow s0");
    assert_eq!(own[1].0, "path hollow s1");
    assert_eq!(own[4].0, "cross cross s5");
    assert_eq!((own[5].0.as_str(), own[6].0.as_str()), ("circle f0", "path f1"));
    assert!(own[6].1.contains("probe 7 of 8") && own[6].1.contains("p95 TTFT 560 ms"), "{}", own[6].1);
    assert!(own[4].1.contains("client_late") && own[0].1.contains("ended early"), "{own:?}");
    for text in [
        "p95 TTFT ≤ 500 ms",
        ">meets the SLO<",
        ">misses it<",
        ">says nothing<",
        ">hollow: ended early<",
        ">the limit lies here<",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(svg.contains("between 118 and 124 users"), "{svg}");
    // The band stands between both ends.
    let x = |svg: &str, part: &str| -> f64 {
        let (_, rest) = svg.split_once(part).expect("the element");
        rest.split_once('"').expect("a number").0.parse().expect("a number")
    };
    let bands: Vec<&str> = svg.lines().filter(|line| line.contains("class=\"window\"")).collect();
    let band = bands.last().expect("the band");
    let (left, wide) = (x(band, "x=\""), x(band, "width=\""));
    assert!(left > 72.0 && wide >= 2.0 && left + wide < 740.0, "{band}");
    // One load alone is no picture, and neither is a search that has not begun.
    let (run, one) = searches::fixtures::most_users(&[(1, 640.0, searches::fixtures::Kind::Full)]);
    let kinds: Vec<&str> = drawn_with(&run, vec![one]).iter().map(|chart| chart.kind).collect();
    assert!(!kinds.contains(&"search"), "{kinds:?}");
    let open = Answer { state: State::Unfinished, probes: Vec::new(), ..answer };
    assert!(drawn_with(&fixtures::empty(), vec![open]).is_empty());
}

#[test]
fn a_search_over_a_server_axis_shows_what_became_of_each_value() {
    let tried = [
        (4096, "works"),
        (131_072, "does_not_fit"),
        (65_536, "oom at start (kv_cache)"),
        (32_768, "oom under load"),
        (16_384, "invalid"),
    ];
    let (run, answer) = searches::fixtures::context(&tried);
    let answer = Answer { feasible: Some(4096.0), infeasible: Some(32_768.0), ..answer };
    let charts = drawn_with(&run, vec![answer]);
    let svg = charts.iter().find(|chart| chart.kind == "search").expect("the picture").svg();
    for lane in [
        ">fits<",
        ">KV cache too small for one request<",
        ">out of memory at start (kv cache)<",
        ">out of memory under load<",
    ] {
        assert!(svg.contains(lane), "{lane} is not in {svg}");
    }
    let shapes: Vec<String> = marks(&svg).into_iter().map(|(shape, _)| shape).collect();
    assert_eq!(shapes.iter().filter(|shape| *shape == "path f1").count(), 3);
    assert!(shapes.contains(&"cross cross s5".to_owned()) && shapes.contains(&"circle f0".to_owned()));
}

#[test]
fn the_servers_of_a_search_for_the_best_have_their_front() {
    let (run, answer) = searches::fixtures::tune();
    let charts = drawn_with(&run, vec![answer]);
    let own = &charts[0];
    assert_eq!((own.kind, own.file.as_str()), ("search", "tune-search.svg"));
    let svg = own.svg();
    // The sixth has no numbers.
    assert_eq!(marks(&svg).len(), 5);
    assert!(svg.contains("line front") && svg.contains("halo") && svg.contains(">best server<"), "{svg}");
}

#[test]
fn several_searches_have_a_picture_each() {
    let (run, answers) = searches::fixtures::several();
    let charts = drawn_with(&run, answers);
    let own: Vec<(&str, &str)> = charts
        .iter()
        .filter(|chart| chart.kind == "search")
        .map(|chart| (chart.file.as_str(), chart.title.as_str()))
        .collect();
    assert_eq!(
        own,
        [
            ("chat-search.svg", "chat: most users within the SLO, max_tokens 64"),
            ("chat-search-2.svg", "chat: most users within the SLO, max_tokens 128"),
            ("chat-search-3.svg", "chat: most users within the SLO, max_tokens 256"),
        ]
    );
}
