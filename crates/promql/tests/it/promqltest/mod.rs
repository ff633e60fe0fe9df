//! A runner for the format of Prometheus' own PromQL tests: loads series, evaluates, compares.

mod compare;
mod format;
mod histogram;
mod nhcb;
mod rewrite;
mod run;
mod series;
mod store;

pub(crate) use run::{Failure, Report, run};
