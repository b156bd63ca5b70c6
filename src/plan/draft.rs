//! [`Draft`]: a server and a workload with a combination of factors applied, before they become typed.

use serde_json::Value;

use crate::manifest::{BaseWorkload, Column, Factor, Manifest, Path, set_value};

/// The factors that apply to a workload: those that change its server, then those that change its load.
pub(super) fn factors(manifest: &Manifest, workload: &str) -> (Vec<Factor>, Vec<Factor>) {
    let mut outer = Vec::new();
    let mut inner = Vec::new();
    for factor in &manifest.sweep.factors {
        let touches = |prefix: &[&str]| {
            let sets = factor.points.iter().flat_map(|point| &point.sets);
            sets.clone().any(|(path, _)| path.starts_with(prefix))
        };
        if touches(&["server"]) {
            outer.push(factor.clone());
        } else if touches(&["experiment"]) || touches(&["workload", workload]) {
            inner.push(factor.clone());
        }
    }
    if let Some(base) = manifest.workloads.iter().find(|base| base.name == workload) {
        inner.extend(base.sweep.factors.iter().cloned());
    }
    (outer, inner)
}

/// The number of combinations of factors.
pub(super) fn size(factors: &[Factor]) -> u128 {
    factors.iter().fold(1, |size, factor| size.saturating_mul(factor.points.len() as u128))
}

/// Base values with a combination of factors applied, and the column values of that combination.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) server: Value,
    pub(super) workload: Value,
    pub(super) seed: u64,
    pub(super) values: Vec<(Column, Value)>,
}

impl Draft {
    /// The base values of a server and a workload. A workload's search is a question about its cells and no
    /// part of them.
    pub(super) fn new(manifest: &Manifest, base: &BaseWorkload) -> Self {
        let mut workload = base.value.clone();
        if let Some(keys) = workload.as_object_mut() {
            keys.remove("search");
        }
        let seed = manifest.experiment.seed;
        Self { server: manifest.server.clone(), workload, seed, values: Vec::new() }
    }

    /// This draft with every combination of the factors, the last factor fastest.
    pub(super) fn combinations<'a>(
        &'a self,
        factors: &'a [Factor],
        workload: &'a str,
    ) -> impl Iterator<Item = Self> + 'a {
        (0..size(factors)).map(move |number| {
            let mut rest = number;
            let mut digits: Vec<usize> = factors
                .iter()
                .rev()
                .map(|factor| {
                    let points = factor.points.len() as u128;
                    let digit = (rest % points) as usize;
                    rest /= points;
                    digit
                })
                .collect();
            digits.reverse();
            let mut draft = self.clone();
            draft.apply(factors, &digits, workload);
            draft
        })
    }

    fn apply(&mut self, factors: &[Factor], digits: &[usize], workload: &str) {
        for (factor, &digit) in factors.iter().zip(digits) {
            let point = &factor.points[digit];
            for (path, value) in &point.sets {
                self.set(path, value.clone(), workload);
            }
            self.values.extend(factor.columns.iter().cloned().zip(point.values.iter().cloned()));
        }
    }

    /// Sets the value of an axis.
    pub(super) fn pin(&mut self, path: &Path, value: Value, workload: &str) {
        self.set(path, value.clone(), workload);
        self.values.push((Column::Path(path.clone()), value));
    }

    fn set(&mut self, path: &Path, value: Value, workload: &str) {
        match path.0[0].as_str() {
            "server" => set_value(&mut self.server, &path.0[1..], value),
            "workload" if path.0[1] == workload => set_value(&mut self.workload, &path.0[2..], value),
            "experiment" => {
                if let Some(seed) = value.as_u64() {
                    self.seed = seed;
                }
            }
            _ => {}
        }
    }
}
