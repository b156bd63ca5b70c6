//! Which notes a run gets, and that their links lead somewhere.

use std::collections::BTreeMap;

use crate::{
    manifest::Objective,
    measure::CellOutcome,
    report::{Note, fixtures, render},
    store::StoredRun,
};

/// A chat that was measured, a batch that was measured, and a workload of which nothing was.
fn three_workloads() -> StoredRun {
    let mut run = fixtures::streamed();
    for (name, objective) in [("long <b>documents</b>", Objective::Throughput), ("lost", Objective::Latency)]
    {
        let cells = fixtures::streamed().cells.into_iter().map(|mut cell| {
            cell.id = cell.id.replace("chat", &name[..4]);
            cell.workload = name.into();
            cell.objective = objective;
            if name == "lost" {
                cell.outcome = CellOutcome::Crashed;
                cell.summary = None;
                cell.reason = Some("the server ended".into());
            }
            cell
        });
        let cells: Vec<_> = cells.collect();
        run.cells.extend(cells);
    }
    run
}

fn notes(run: &StoredRun) -> BTreeMap<String, String> {
    let notes = render(run, None).unwrap();
    notes.into_iter().map(|Note { file, text }| (file, text)).collect()
}

/// Targets of the Markdown links of a text.
fn links(text: &str) -> Vec<&str> {
    text.match_indices("](").map(|(at, _)| text[at + 2..].split(')').next().unwrap()).collect()
}

/// Anchors that GitHub gives to the headings of a text.
fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
        .collect()
}

#[test]
fn several_workloads_have_an_overview_and_a_note_each() {
    let notes = notes(&three_workloads());
    let files: Vec<&str> = notes.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        [
            "batch.md",
            "capacity-chat.md",
            "capacity-long-b-documents-b.md",
            "capacity-lost.md",
            "capacity.md",
            "definitions.md",
            "playbook.md"
        ]
    );
    let overview = &notes["capacity.md"];
    assert!(overview.contains("[More](capacity-chat.md)"), "{overview}");
    assert!(
        !overview.contains("numbers and findings"),
        "what one workload is about stands in its own note: {overview}"
    );
    let chat = &notes["capacity-chat.md"];
    assert!(chat.contains("numbers and findings") && chat.contains("chat-throughput.svg"));
    assert!(!chat.contains("documents") && !chat.contains("lost"), "{chat}");
}

#[test]
fn one_workload_is_one_note() {
    let notes = notes(&fixtures::streamed());
    assert!(!notes.contains_key("capacity-chat.md"));
    assert!(notes["capacity.md"].contains("numbers and findings"));
}

#[test]
fn every_link_of_every_note_leads_somewhere() {
    for run in [three_workloads(), fixtures::grid(), fixtures::oom_surface()] {
        let notes = notes(&run);
        let shown_charts = crate::report::show(&run, None).unwrap().charts;
        let charts: Vec<String> =
            shown_charts.into_iter().map(|chart| format!("../charts/{}", chart.file)).collect();
        let mut shown = 0;
        for (file, text) in &notes {
            for link in links(text) {
                let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
                if let Some(note) = notes.get(if target.is_empty() { file.as_str() } else { target }) {
                    assert!(
                        anchor.is_empty() || anchors(note).iter().any(|known| known == anchor),
                        "{file}: {link}"
                    );
                } else if charts.iter().any(|chart| chart == target) {
                    shown += 1;
                } else {
                    assert_eq!(target, "../cells.csv", "{file}");
                }
            }
        }
        assert_eq!(shown, charts.len(), "each picture stands in one note");
    }
}

#[test]
fn a_template_of_one_s_own_is_rendered_for_each_workload() {
    let folder = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(folder.path()).unwrap();
    std::fs::write(
        path.join("mine.workload.md.j2"),
        "{{ workload.name }} {{ workload.cells }}/{{ workload.measured }}",
    )
    .unwrap();
    let notes = render(&three_workloads(), Some(path)).unwrap();
    let mine: Vec<(&str, &str)> = notes
        .iter()
        .filter(|note| note.file.starts_with("mine"))
        .map(|note| (note.file.as_str(), note.text.as_str()))
        .collect();
    assert_eq!(
        mine,
        [
            ("mine-chat.md", "chat 4/4\n"),
            ("mine-long-b-documents-b.md", "long &lt;b&gt;documents&lt;/b&gt; 4/4\n"),
            ("mine-lost.md", "lost 4/0\n"),
        ]
    );
    // A mistake in it is told once, not once for each workload.
    std::fs::write(path.join("mine.workload.md.j2"), "{{ workload.nam }}").unwrap();
    let findings = render(&three_workloads(), Some(path)).unwrap_err();
    let shown = findings.render(false);
    assert_eq!(shown.matches("cannot be rendered").count(), 1, "{shown}");
}
