//! What was measured, as it is kept in `benches/results.json`: the document is made from it, and from nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Fallible;

/// The last run of each workload.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) runs: BTreeMap<String, Run>,
}

/// One run of one workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) date: String,
    /// What was typed.
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) commit: String,
    /// Of the last minute, before and after.
    pub(crate) load_average: [f64; 2],
    pub(crate) rows: Vec<Row>,
}

/// One target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) target: String,
    pub(crate) version: String,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<String>,
    pub(crate) figures: BTreeMap<String, Figure>,
}

/// Of several rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Figure {
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let last = sorted.len().saturating_sub(1);
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        Self {
            median: rounded(f64::midpoint(at(last / 2), at(last.div_ceil(2)))),
            least: rounded(at(0)),
            most: rounded(at(last)),
        }
    }
}

impl Results {
    pub(crate) fn load(file: &Path) -> Fallible<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    }

    pub(crate) fn save(&self, file: &Path) -> Fallible<()> {
        Ok(fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// The median of a figure.
    pub(crate) fn median(&self, workload: &str, target: &str, figure: &str) -> Option<f64> {
        let rows = &self.runs.get(workload)?.rows;
        let row = rows.iter().find(|row| row.target == target)?;
        Some(row.figures.get(figure)?.median)
    }
}

/// Figures as they come in, round by round.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<String, BTreeMap<&'static str, Vec<f64>>>);

impl Samples {
    pub(crate) fn add(&mut self, target: &str, figures: &[(&'static str, f64)]) {
        let own = self.0.entry(target.to_owned()).or_default();
        for (name, value) in figures {
            own.entry(name).or_default().push(*value);
        }
    }

    /// Adds `ratio`: `figure` of each round divided by the floor's of the same round.
    pub(crate) fn compare(&mut self, figure: &'static str, floor: &str) {
        let Some(base) = self.0.get(floor).and_then(|own| own.get(figure)).cloned() else {
            return;
        };
        for own in self.0.values_mut() {
            let values = own.get(figure).cloned().unwrap_or_default();
            let ratios = values.iter().zip(&base).map(|(value, base)| value / base);
            own.insert("ratio", ratios.collect());
        }
    }

    pub(crate) fn figures(&self, target: &str) -> BTreeMap<String, Figure> {
        let own = self.0.get(target).into_iter().flatten();
        own.map(|(name, values)| ((*name).to_owned(), Figure::of(values)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_a_ratio_is_taken_round_by_round() {
        assert_eq!(
            Figure::of(&[3.0, 1.0, 2.0]),
            Figure {
                median: 2.0,
                least: 1.0,
                most: 3.0
            }
        );
        assert!((Figure::of(&[4.0, 1.0, 2.0, 3.0]).median - 2.5).abs() < 1e-9);
        let mut samples = Samples::default();
        for (floor, own) in [(10.0, 12.0), (20.0, 24.0), (10.0, 15.0)] {
            samples.add("floor", &[("cpu", floor)]);
            samples.add("own", &[("cpu", own)]);
        }
        samples.compare("cpu", "floor");
        assert!((samples.figures("own")["ratio"].median - 1.2).abs() < 1e-9);
        assert!((samples.figures("floor")["ratio"].median - 1.0).abs() < 1e-9);
    }
}
