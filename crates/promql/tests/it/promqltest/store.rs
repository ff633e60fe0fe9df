//! The series of a test, and selections of them.

use model::{Labels, Sample, Selection, Series, Timestamp};

use super::series::Item;

/// All series loaded so far.
#[derive(Debug, Default)]
pub(crate) struct Store {
    series: Vec<Series>,
}

impl Store {
    /// Adds a run of values, `step` milliseconds apart from the epoch on.
    pub(crate) fn load(&mut self, labels: &Labels, items: &[Item], step: i64) {
        let position = self.series.iter().position(|series| series.labels == *labels);
        let position = position.unwrap_or_else(|| {
            self.series.push(Series { labels: labels.clone(), samples: Vec::new() });
            self.series.len() - 1
        });
        let samples = &mut self.series[position].samples;
        for (index, item) in items.iter().enumerate() {
            let value = match item {
                Item::Float(value) => *value,
                Item::Stale => model::stale_nan(),
                Item::Gap | Item::Histogram(_) => continue,
            };
            samples.push(Sample { timestamp: Timestamp(index as i64 * step), value });
        }
        samples.sort_by_key(|sample| sample.timestamp);
        samples.dedup_by(|next, kept| {
            let same = next.timestamp == kept.timestamp;
            if same {
                *kept = *next;
            }
            same
        });
    }

    /// What a selection asks for and nothing else.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<Series> {
        let picked = |series: &&Series| selection.matchers.iter().all(|m| m.matches_labels(&series.labels));
        let inside =
            |sample: &&Sample| selection.start <= sample.timestamp && sample.timestamp <= selection.end;
        let cut = |series: &Series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().filter(inside).copied().collect(),
        };
        let mut found: Vec<Series> = self.series.iter().filter(picked).map(cut).collect();
        found.retain(|series| !series.samples.is_empty());
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}
