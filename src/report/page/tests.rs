//! What stands in the page; how it behaves is tested in a browser.

use serde_json::{Value, json};

use crate::{
    report::{fixtures, show},
    store::StoredRun,
};

fn written(run: &StoredRun) -> String {
    show(run, None).expect("the page").page
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").expect("the data");
    let (json, _) = rest.split_once("</script>").expect("its end");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn the_page_stands_alone_and_has_every_cell() {
    let page = written(&fixtures::grid());
    assert!(!page.contains("<!--"), "a marker is left");
    for outside in ["src=", "href=\"http", "url(", "@import", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let data = data(&page);
    assert_eq!(data["cells"].as_array().map(Vec::len), Some(12));
    assert_eq!(data["cells"][0]["m"]["throughput"], 48.1);
    assert_eq!(data["cells"][0]["unranked"], json!(["p95_ttft", "p95_e2e"]));
    // Twelve cells with the same verdict: its words once.
    assert_eq!(data["verdicts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn absent_numbers_are_absent_and_failed_cells_have_their_log() {
    let page = written(&fixtures::oom_surface());
    let data = data(&page);
    let failed = data["cells"]
        .as_array()
        .and_then(|cells| cells.iter().find(|cell| cell["outcome"] == "oom"))
        .expect("a cell");
    assert_eq!(failed.get("m"), None);
    let log = failed["log"].as_u64().expect("its place") as usize;
    assert_eq!(data["texts"][log][1], "torch.OutOfMemoryError: CUDA out of memory.");
}

#[test]
fn names_cannot_leave_their_element() {
    let name = "</script><script>alert(1)</script><!--data-->\u{2028}&amp;";
    let mut run = fixtures::streamed();
    run.plan.experiment.title = Some(name.into());
    for cell in &mut run.cells {
        cell.workload = name.into();
        cell.log_tail = vec![name.into()];
    }
    let page = written(&run);
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains('\u{2028}'));
    assert_eq!(data(&page)["cells"][0]["workload"], name);
}

#[test]
fn a_run_without_cells_has_a_page() {
    let page = written(&fixtures::empty());
    assert!(page.contains("No charts: too few cells have numbers"), "{page}");
    assert_eq!(data(&page)["cells"], json!([]));
}
