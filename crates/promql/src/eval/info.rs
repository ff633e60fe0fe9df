//! `info()`: adds the labels of info series to the series they describe.

use hashbrown::HashMap;
use model::{Labels, METRIC_NAME, Matcher};

use super::Evaluator;
use super::column::{self, Row, is_absent};
use crate::error::EvalError;
use crate::plan::{Grid, InfoNode};

/// The labels that tell what an info series describes.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl<'a> Evaluator<'a> {
    pub(super) fn info(&mut self, node: &'a InfoNode, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let base = self.vector(&node.base, grid)?;
        let inputs = self.inputs;
        if inputs[node.info.selection].iter().any(|series| !series.histograms.is_empty()) {
            let text =
                "this should be an info metric, with float samples: it has native histograms";
            return Err(EvalError::Argument(text.to_owned()));
        }
        let infos = self.sample_times(&node.info, grid)?;
        let mut by_identity: HashMap<Labels, Vec<&Row>> = HashMap::new();
        for info in &infos {
            by_identity.entry(info.labels.only(&IDENTIFYING)).or_default().push(info);
        }
        let mut rows = Vec::new();
        for row in base {
            self.charge(grid.steps)?;
            let is_info = node.names.iter().all(|matcher| matcher.matches_labels(&row.labels));
            let identity = row.labels.only(&IDENTIFYING);
            let candidates = by_identity.get(&identity).filter(|_| !identity.is_empty());
            match candidates {
                _ if is_info => rows.push(row),
                Some(infos) => self.enrich(&row, infos, &node.labels, &mut rows)?,
                None if optional(&node.labels) => rows.push(row),
                None => {}
            }
        }
        column::unify(rows)
    }

    /// Adds labels step by step: which info series describes a series may change over time. The values
    /// of `infos` are the times of their samples.
    fn enrich(
        &mut self,
        row: &Row,
        infos: &[&Row],
        wanted: &[Matcher],
        rows: &mut Vec<Row>,
    ) -> Result<(), EvalError> {
        let mut slots: HashMap<Vec<usize>, usize> = HashMap::new();
        for (step, _) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            let chosen = latest(infos, step)?;
            if chosen.is_empty() && !optional(wanted) {
                continue;
            }
            let slot = match slots.get(&chosen) {
                Some(slot) => *slot,
                None => {
                    self.charge(row.values.len())?;
                    let labels =
                        enriched(&row.labels, chosen.iter().map(|index| infos[*index]), wanted)?;
                    rows.push(Row::absent(labels, row.drop_name, row.values.len()));
                    slots.insert(chosen, rows.len() - 1);
                    rows.len() - 1
                }
            };
            rows[slot].set(step, row.point(step));
        }
        Ok(())
    }
}

/// Whether a series without an info series stays as it is.
fn optional(labels: &[Matcher]) -> bool {
    labels.iter().all(Matcher::matches_empty)
}

/// For every name of an info metric, the series with the newest sample at a step.
fn latest(infos: &[&Row], step: usize) -> Result<Vec<usize>, EvalError> {
    let mut chosen: Vec<usize> = Vec::new();
    for (index, info) in infos.iter().enumerate().filter(|(_, info)| !is_absent(info.values[step]))
    {
        let name = info.labels.metric_name();
        let Some(rival) =
            chosen.iter_mut().find(|other| infos[**other].labels.metric_name() == name)
        else {
            chosen.push(index);
            continue;
        };
        let (known, new) = (infos[*rival].values[step], info.values[step]);
        if known == new {
            let (known, new) = (&infos[*rival].labels, &info.labels);
            return Err(EvalError::Argument(format!(
                "found duplicate series for info metric: {known} and {new}"
            )));
        }
        if new > known {
            *rival = index;
        }
    }
    Ok(chosen)
}

/// The labels with those of info series added. Labels that are there already stay as they are.
fn enriched<'r>(
    base: &Labels,
    infos: impl Iterator<Item = &'r Row>,
    wanted: &[Matcher],
) -> Result<Labels, EvalError> {
    let mut builder = base.edit();
    for info in infos {
        for (name, value) in info.labels.iter() {
            let asked = wanted.is_empty() || wanted.iter().any(|matcher| matcher.name == name);
            let own = name == METRIC_NAME || IDENTIFYING.contains(&name);
            if own || !asked || base.get(name).is_some() {
                continue;
            }
            if builder.get(name).is_some_and(|known| known != value) {
                return Err(EvalError::Argument(format!("conflicting label: {name}")));
            }
            builder.set(name, value);
        }
    }
    Ok(builder.build())
}
