//! Reading the head.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Labels, MatchOp, Matcher, Metadata, Selection, Series, Timestamp};
use promql::Hint;

use crate::head::Head;
use crate::looks;
use crate::registry::HeadSeries;
use crate::samples::Snapshot;

/// Why a selection was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has more samples than the caller wants to hold.
    TooManySamples,
    /// The caller does not want it any more.
    Cancelled,
    /// A block is damaged; the text says which and how.
    Damaged(String),
}

impl Head {
    /// The series of a selection that have a sample in its span, at most `samples_max` samples.
    /// With `hints`, samples that none of these uses looks at may be left out. `cancelled` is asked
    /// before every series.
    pub(crate) fn select(
        &self,
        selection: &Selection,
        hints: &[Hint],
        samples_max: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Series>, Stop> {
        let (start, end) = (selection.start.millis(), selection.end.millis());
        let picked = self.registry.read().resolve(&selection.matchers);
        let mut found = Vec::with_capacity(picked.len());
        let mut left = samples_max;
        let only_look = looks::only(selection, hints);
        // Used for one series after the other: what is kept of each is as large as it must be.
        let mut snapshot = Snapshot::default();
        for series in picked {
            if cancelled() {
                return Err(Stop::Cancelled);
            }
            let stored = series.samples.lock();
            let samples = if let Some(look) = only_look
                && let Some(newest) = stored.newest_open()
                && newest.timestamp.millis() <= look
            {
                drop(stored);
                if newest.timestamp.millis() < start { Vec::new() } else { vec![newest] }
            } else {
                stored.snapshot(start, end, &mut snapshot);
                drop(stored);
                looks::seen(snapshot.samples(start, end), hints).into_owned()
            };
            left = left.checked_sub(samples.len()).ok_or(Stop::TooManySamples)?;
            if !samples.is_empty() {
                found.push(Series { labels: series.labels.clone(), samples });
            }
        }
        Ok(found)
    }

    /// Whether one `=` of the selection leaves no more than so many series. Says no when it would
    /// have to wait for a writer.
    pub(crate) fn is_narrow(&self, selection: &Selection, series_max: usize) -> bool {
        let Some(registry) = self.registry.try_read() else { return false };
        let index = registry.index();
        let is_narrow = |m: &Matcher| {
            m.op == MatchOp::Equal && index.ids_of(&m.name, &m.value).len() <= series_max
        };
        selection.matchers.iter().any(|m| !m.value.is_empty() && is_narrow(m))
    }

    /// The label sets of all selections together, sorted.
    pub(crate) fn series(&self, selections: &[Selection], limit: usize) -> Vec<Labels> {
        let found: BTreeSet<Labels> = selections
            .iter()
            .flat_map(|selection| self.present(selection, selection.start, selection.end))
            .map(|series| series.labels.clone())
            .collect();
        found.into_iter().take(at_most(limit)).collect()
    }

    /// Label names, sorted.
    pub(crate) fn label_names(
        &self,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Vec<String> {
        if selections.is_empty() {
            return self
                .registry
                .read()
                .index()
                .label_names()
                .take(at_most(limit))
                .map(str::to_owned)
                .collect();
        }
        let mut names = BTreeSet::new();
        for series in
            selections.iter().flat_map(|selection| self.present(selection, span.0, span.1))
        {
            for (name, _) in series.labels.iter() {
                // Most series repeat the names of those before.
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        names.into_iter().take(at_most(limit)).collect()
    }

    /// Values of a label, sorted.
    pub(crate) fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Vec<String> {
        if selections.is_empty() {
            return self
                .registry
                .read()
                .index()
                .label_values(name)
                .take(at_most(limit))
                .map(str::to_owned)
                .collect();
        }
        let mut values = BTreeSet::new();
        for series in
            selections.iter().flat_map(|selection| self.present(selection, span.0, span.1))
        {
            values.extend(series.labels.get(name).map(str::to_owned));
        }
        values.into_iter().take(at_most(limit)).collect()
    }

    /// Metadata of one metric name or of all, sorted by name.
    pub(crate) fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Metadata)> {
        let known = self.metadata.read();
        let owned = |(name, metadata): (&String, &Metadata)| (name.clone(), metadata.clone());
        match metric {
            Some(name) => known.get_key_value(name).map(owned).into_iter().collect(),
            None => BTreeMap::iter(&known).take(at_most(limit)).map(owned).collect(),
        }
    }

    /// The picked series that have a chunk in both the selection's span and the given one.
    fn present(
        &self,
        selection: &Selection,
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<Arc<HeadSeries>> {
        let (start, end) = (selection.start.max(start).millis(), selection.end.min(end).millis());
        if start > end {
            return Vec::new();
        }
        let mut picked = self.registry.read().resolve(&selection.matchers);
        picked.retain(|series| series.samples.lock().overlaps(start, end));
        picked
    }
}

/// Zero stands for "no limit", as in the Prometheus HTTP API.
pub(crate) fn at_most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}
