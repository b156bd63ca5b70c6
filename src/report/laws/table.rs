//! The results of all grids, by scene and noise.

use std::{collections::BTreeMap, fmt};

use super::{draw::Scene, truth::Wanted};

/// Sums over some grids.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) grids: usize,
    /// Grids with anything false.
    pub(super) hurt: usize,
    pub(super) findings: usize,
    pub(super) false_findings: usize,
    pub(super) planted: usize,
    pub(super) visible: usize,
    pub(super) missed: usize,
}

impl Row {
    /// Adds a grid.
    pub(super) fn add(&mut self, findings: usize, false_findings: usize, wanted: &[Wanted]) {
        self.grids += 1;
        self.hurt += usize::from(false_findings > 0);
        self.findings += findings;
        self.false_findings += false_findings;
        self.planted += wanted.len();
        self.visible += wanted.iter().filter(|own| own.is_visible).count();
        self.missed += wanted.iter().filter(|own| own.is_visible && !own.is_found).count();
    }

    /// The part of findings that contradict the law.
    pub(super) fn false_part(&self) -> f64 {
        self.false_findings as f64 / self.findings.max(1) as f64
    }

    /// The part of visible planted effects that were not found.
    pub(super) fn missed_part(&self) -> f64 {
        self.missed as f64 / self.visible.max(1) as f64
    }
}

/// One row for each scene and noise.
#[derive(Default)]
pub(super) struct Table {
    /// By the index of the scene, and by the noise in percent.
    rows: BTreeMap<(usize, u64), Row>,
}

impl Table {
    /// The row of a scene and a noise.
    pub(super) fn row(&mut self, scene: Scene, noise: f64) -> &mut Row {
        let place = Scene::ALL.iter().position(|own| *own == scene).unwrap_or_default();
        self.rows.entry((place, (noise * 100.0).round() as u64)).or_default()
    }

    /// The sum of the rows that a test names, by scene and percent of noise.
    pub(super) fn sum(&self, wanted: impl Fn(Scene, u64) -> bool) -> Row {
        let mut sum = Row::default();
        let own = self.rows.iter().filter(|((scene, noise), _)| wanted(Scene::ALL[*scene], *noise));
        for (_, row) in own {
            sum.grids += row.grids;
            sum.hurt += row.hurt;
            sum.findings += row.findings;
            sum.false_findings += row.false_findings;
            sum.planted += row.planted;
            sum.visible += row.visible;
            sum.missed += row.missed;
        }
        sum
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "law or plant",
            "noise",
            "grids",
            "findings",
            "false",
            "grids hurt",
            "planted",
            "visible",
            "missed",
        ];
        let line = |f: &mut fmt::Formatter<'_>, name: &str, noise: &str, row: &Row| {
            writeln!(
                f,
                "{name:<16} {noise:>5} {:>6} {:>9} {:>6} {:>11} {:>8} {:>8} {:>7}",
                row.grids, row.findings, row.false_findings, row.hurt, row.planted, row.visible, row.missed
            )
        };
        let [name, noise, grids, findings, wrong, hurt, planted, visible, missed] = heads;
        writeln!(
            f,
            "{name:<16} {noise:>5} {grids:>6} {findings:>9} {wrong:>6} {hurt:>11} {planted:>8} {visible:>8} {missed:>7}"
        )?;
        for ((scene, noise), row) in &self.rows {
            line(f, &format!("{:?}", Scene::ALL[*scene]), &format!("{noise} %"), row)?;
        }
        let mut noises: Vec<u64> = self.rows.keys().map(|(_, noise)| *noise).collect();
        noises.sort_unstable();
        noises.dedup();
        for noise in noises {
            line(f, "all", &format!("{noise} %"), &self.sum(|_, own| own == noise))?;
        }
        let all = self.sum(|_, _| true);
        line(f, "all", "", &all)?;
        writeln!(
            f,
            "false findings {:.2} %, planted and missed {:.2} %",
            100.0 * all.false_part(),
            100.0 * all.missed_part()
        )
    }
}
