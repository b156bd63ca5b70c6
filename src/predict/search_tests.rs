//! Searches in virtual time, where they are expected to end, and what they are estimated to take.

use std::fs;

use camino::Utf8PathBuf;

use super::*;
use crate::{
    manifest::{Manifest, Overrides},
    plan::{Expected, Plan},
    search::{self, State},
    store::StoredRun,
};

const LLAMA: &str = "[experiment]\nname = \"t\"\n[hardware]\ngpu = \"RTX 4090\"\nusd_per_hour = 0.5\n[server]\n\
    model = \"meta-llama/Llama-3.1-8B-Instruct\"\n";

const CONTEXT: &str = "[search.context]\naxis = \"server.flags.max-model-len\"\nfrom = 2048\nto = 131072\n\
    step = 1024\n[workload.chat]\nprompts = [\"a b c\"]\nrequests = 8\nmax_tokens = 16\n";

const USERS: &str = "[server.flags]\nmax-model-len = 8192\n[workload.chat]\nrequests = 150\noutput = \"exact\"\n\
    synthetic = { input_tokens = 400, output_tokens = 40 }\nslo = { p95_ttft = \"400ms\" }\n\
    [workload.chat.search]\naxis = \"concurrency\"\nfrom = 1\nto = 64\n";

fn planned(text: &str) -> (tempfile::TempDir, Manifest, Plan) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("m.toml")).unwrap();
    fs::write(&path, format!("{LLAMA}{text}")).unwrap();
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let manifest = manifest.unwrap_or_else(|| panic!("{}", findings.render(false)));
    let (plan, findings) = crate::plan::plan(&manifest);
    (folder, manifest, plan.unwrap_or_else(|| panic!("{}", findings.render(false))))
}

fn run_of(manifest: &Manifest, plan: &Plan) -> StoredRun {
    let placement = Placement { required: true, ..Placement::of(manifest) };
    let placed = placement.place(plan).placed;
    let origin = Origin {
        name: "n".into(),
        command: Vec::new(),
        effective: String::new(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let spill = std::env::temp_dir();
    predict_plan(&placement, plan.clone(), placed, Assumptions::default(), origin, &spill).unwrap()
}

fn expected(manifest: &Manifest, plan: &Plan) -> Option<Expected> {
    let found = expect(&Placement::of(manifest), plan, &std::env::temp_dir(), &|| true);
    found.get(&plan.searches[0].id).copied()
}

#[test]
fn the_longest_context_that_fits_is_found_without_a_gpu() {
    let (_folder, manifest, plan) = planned(CONTEXT);
    let run = run_of(&manifest, &plan);
    let answer = search::answers(&run).remove(0);
    assert_eq!(answer.state, State::Found, "{answer:?}");
    let (works, fails) = (answer.feasible.unwrap(), answer.infeasible.unwrap());
    assert_eq!(fails - works, 1024.0);
    // The predicted log names the length that fits, as a real one does.
    assert!(answer.starts <= 4, "{answer:?}");
    let outcome = |length: f64| {
        let server = run.servers.iter().find(|server| server.axes["max-model-len"].as_f64() == Some(length));
        server.unwrap().is_ready()
    };
    assert!(outcome(works) && !outcome(fails));
    assert!(run.run.predicted.as_ref().unwrap().hardware == "RTX 4090");
    assert!(run.cells.iter().all(|cell| cell.predicted && cell.search.as_deref() == Some("context")));

    let expected = expected(&manifest, &plan).unwrap();
    assert_eq!(expected.value, works);
    assert!(expected.low < works && works < expected.high, "{expected:?}");
    let spread = |end: f64| (end / works).ln().abs();
    assert!(spread(expected.low) < 1.5 * KV_CACHE.ln() && spread(expected.high) < 1.5 * KV_CACHE.ln());
}

#[test]
fn the_smallest_share_of_memory_that_fits_is_expected_between_two_others() {
    let (_folder, manifest, plan) = planned(
        "[server.flags]\nmax-model-len = 8192\n[search.memory]\naxis = \"server.flags.gpu-memory-utilization\"\n\
         find = \"smallest\"\nfrom = 0.5\nto = 0.98\nstep = 0.01\n\
         [workload.chat]\nprompts = [\"a b c\"]\nrequests = 8\nmax_tokens = 16\n",
    );
    let answer = search::answers(&run_of(&manifest, &plan)).remove(0);
    let expected = expected(&manifest, &plan).unwrap();
    assert!((expected.value - answer.feasible.unwrap()).abs() < 1e-9, "{expected:?} {answer:?}");
    assert!(expected.low <= expected.value && expected.value <= expected.high, "{expected:?}");
    assert!(expected.low < expected.high, "{expected:?}");
}

#[test]
fn the_most_users_are_searched_in_virtual_time() {
    let (_folder, manifest, plan) = planned(USERS);
    let run = run_of(&manifest, &plan);
    let answer = search::answers(&run).remove(0);
    // How narrow it becomes is the search's business.
    assert!(matches!(answer.state, State::Found | State::Wide), "{answer:?}");
    let ttft = |load: f64| {
        let cell = run.cells.iter().find(|cell| cell.load["concurrency"].as_f64() == Some(load)).unwrap();
        cell.summary.as_ref().unwrap().ttft.as_ref().unwrap().p95_ms
    };
    let (low, high) = (answer.feasible.unwrap(), answer.infeasible.unwrap());
    assert!(ttft(low) <= 400.0 && ttft(high) > 400.0, "{answer:?}");
    assert!(answer.probes.len() <= 8, "{answer:?}");

    let expected = expected(&manifest, &plan).unwrap();
    assert!(low <= expected.value && expected.value <= high, "{expected:?}");
    assert!(expected.low <= low && high <= expected.high, "{expected:?}");
    assert!(expected.low < expected.value && expected.value < expected.high, "{expected:?}");
    // A prediction costs at most two more probes than none.
    let mut warm = plan.clone();
    warm.searches[0].expected = Some(expected);
    let warm = search::answers(&run_of(&manifest, &warm)).remove(0);
    assert!(warm.probes.len() <= answer.probes.len() + 2, "{} > {}", warm.probes.len(), answer.probes.len());
}

#[test]
fn nothing_is_expected_of_what_is_not_modelled() {
    for text in [
        CONTEXT.replace("[search", "[server.flags]\nenforce-eager = true\n[search"),
        // The model of vLLM knows no such flag.
        CONTEXT.replace("max-model-len", "seed"),
        // The embedded engine is not measured.
        format!("engine = \"sim\"\nsim.gpu = \"RTX 4090\"\n{CONTEXT}"),
    ]
    .iter()
    .enumerate()
    .map(|(at, text)| (at, planned(text)))
    .map(|(at, (_folder, manifest, plan))| (at, expected(&manifest, &plan)))
    {
        assert_eq!(text.1.is_some(), text.0 == 0, "{text:?}");
    }
    let (_folder, manifest, plan) = planned(USERS);
    let none = expect(&Placement::of(&manifest), &plan, &std::env::temp_dir(), &|| false);
    assert!(none.is_empty(), "{none:?}");
}

#[test]
fn a_search_is_estimated_as_a_range_and_by_its_bounds_without_a_gpu() {
    let spill = std::env::temp_dir();
    let (_folder, manifest, plan) = planned(USERS);
    let of =
        |manifest: &Manifest| estimate_searches(&Placement::of(manifest), &plan, &spill, &|| true).remove(0);
    let known = of(&manifest);
    let [least, most] = known.seconds.unwrap();
    assert!(0.0 < least && least <= most, "{known:?}");
    let [cheap, dear] = known.usd.unwrap();
    assert!((cheap - least * 0.5 / 3600.0).abs() < 1e-9 && cheap <= dear, "{known:?}");
    let bounds = search::bounds(&plan.searches[0]);
    assert!(known.probes[1] <= bounds.probes[1] + 2, "{known:?}");
    let text = known.to_string();
    assert!(text.starts_with("chat: ") && text.contains("1 server start") && text.contains('$'), "{text}");

    let mut unknown = plan.clone();
    (unknown.hardware.gpu, unknown.hardware.label) = (None, None);
    let unknown = estimate_searches(&Placement::of(&manifest), &unknown, &spill, &|| true).remove(0);
    assert_eq!((unknown.probes, unknown.starts, unknown.seconds), (bounds.probes, bounds.starts, None));
}
