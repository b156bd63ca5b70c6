//! The origin of numbers: those that were not measured here are marked wherever they are shown.

use crate::{
    measure::VerdictKind,
    store::{CellFile, StoredRun},
};

/// Where the numbers of a cell come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Measured on a real engine by this tool.
    Measured,
    /// Measured on the embedded engine.
    Simulated,
    /// Computed without running anything.
    Predicted,
    /// Measured by another tool.
    Imported,
}

impl Origin {
    pub(super) fn of(cell: &CellFile) -> Self {
        if cell.simulated {
            Self::Simulated
        } else if cell.predicted {
            Self::Predicted
        } else if cell.verdicts.iter().any(|verdict| verdict.kind == VerdictKind::Imported) {
            Self::Imported
        } else {
            Self::Measured
        }
    }

    /// The name in templates: `simulated`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Simulated => "simulated",
            Self::Predicted => "predicted",
            Self::Imported => "imported",
        }
    }

    /// The distance from a measurement; importing does not add any.
    pub(crate) fn distance(self) -> u8 {
        match self {
            Self::Measured | Self::Imported => 0,
            Self::Simulated => 1,
            Self::Predicted => 2,
        }
    }

    /// The mark beside a number in a chart or a table: `S`.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Measured => "",
            Self::Simulated => "S",
            Self::Predicted => "P",
            Self::Imported => "I",
        }
    }
}

/// The origins of the cells with numbers, each once.
pub(super) fn origins<'a>(cells: impl IntoIterator<Item = &'a CellFile>) -> Vec<Origin> {
    let mut found: Vec<Origin> = Vec::new();
    for cell in cells.into_iter().filter(|cell| cell.has_numbers()) {
        let own = Origin::of(cell);
        if !found.contains(&own) {
            found.push(own);
        }
    }
    found.sort();
    found
}

/// The badge of a run: `SIMULATED`, or `PARTLY SIMULATED` if its cells have several origins; `None` if all
/// were measured here.
pub(super) fn badge(run: &StoredRun) -> Option<String> {
    let found = origins(&run.cells);
    let own: Vec<String> = found
        .iter()
        .filter(|origin| **origin != Origin::Measured)
        .map(|origin| origin.word().to_uppercase())
        .collect();
    match (found.as_slice(), own.as_slice()) {
        // Without numbers, the run itself says it.
        (_, []) if run.run.simulated => Some("SIMULATED".into()),
        (_, []) if run.run.predicted.is_some() => Some("PREDICTED".into()),
        (_, []) if run.run.imported.is_some() => Some("IMPORTED".into()),
        (_, []) => None,
        ([_], [one]) => Some(one.clone()),
        (_, several) => Some(format!("PARTLY {}", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixtures, render, show};

    /// Four cells, of which the last two were predicted.
    fn mixed() -> StoredRun {
        let mut run = fixtures::streamed();
        for cell in &mut run.cells[2..] {
            cell.predicted = true;
        }
        run
    }

    #[test]
    fn a_run_says_what_all_its_numbers_are_or_that_they_differ() {
        assert_eq!(badge(&fixtures::streamed()), None);
        assert_eq!(badge(&mixed()).as_deref(), Some("PARTLY PREDICTED"));
        let mut run = mixed();
        run.cells[0].simulated = true;
        run.cells[1].simulated = true;
        assert_eq!(badge(&run).as_deref(), Some("PARTLY SIMULATED, PREDICTED"));
        for cell in &mut run.cells {
            (cell.simulated, cell.predicted) = (true, false);
        }
        assert_eq!(badge(&run).as_deref(), Some("SIMULATED"));
    }

    #[test]
    fn where_kinds_mix_each_cell_says_its_own() {
        let run = mixed();
        let notes = render(&run, None).unwrap();
        let note = &notes.iter().find(|note| note.file == "capacity.md").unwrap().text;
        assert!(note.contains("**Not every cell was measured:** 2 measured, 2 predicted."), "{note}");
        // The numbers of two cells carry the letter, those of the others do not.
        assert!(note.contains("| 210 P |") && note.contains("| 115 |"), "{note}");
        assert!(note.contains("P predicted"), "{note}");
        let shown = show(&run, None).unwrap();
        let charts = &shown.charts;
        let throughput = charts.iter().find(|chart| chart.kind == "throughput").unwrap();
        let svg = throughput.svg();
        assert_eq!(svg.matches("class=\"origin on\">P</text>").count(), 2, "{svg}");
        assert!(svg.contains("PARTLY PREDICTED"), "{svg}");
        let page = &shown.page;
        assert_eq!(page.matches("\"origin\":\"predicted\"").count(), 2);
        // Where all are of one kind the badge says it once, and no cell needs to.
        let plain = render(&fixtures::streamed(), None).unwrap();
        assert!(plain.iter().all(|note| !note.text.contains("| 210 P |")));
    }
}
