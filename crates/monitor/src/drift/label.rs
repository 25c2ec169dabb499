//! The label that is answered.

use super::places::Places;
use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answered label as a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    numbers: BTreeMap<String, u32>,
}

impl Label {
    /// Numbers the labels so that similar ones are neighbours: along a chain of the means of
    /// their embeddings where there are any, else by name.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        let mut names: Vec<&str> = enough(rows, |seen| seen.label)?;
        names.sort_unstable();
        names.dedup();
        let mean = |name: &&str| {
            let mut sum: Vec<f32> = Vec::new();
            for seen in rows.iter().filter(|seen| seen.label == Some(name)) {
                let row = seen.embedding?;
                sum.resize(row.len(), 0.0);
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            sum.iter_mut().for_each(|x| *x /= norm);
            Some(sum)
        };
        let means: Option<Vec<Vec<f32>>> = names.iter().map(mean).collect();
        let rows: Vec<&[f32]> = means.iter().flatten().map(Vec::as_slice).collect();
        if let Some(places) = Places::new(&rows) {
            names = places.chain().into_iter().map(|at| names[at]).collect();
        }
        let numbers = names.into_iter().map(str::to_owned).zip(0..).collect();
        Some(Label { numbers })
    }
}

impl Test for Label {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        let new = self.numbers.len() as u32;
        Some(f64::from(self.numbers.get(seen.label?).copied().unwrap_or(new)))
    }

    fn side(&self) -> Side {
        Side::Mix
    }
}
