//! What Open-Falcon's portal database says, as rules, host groups and receivers of Saker, with a report of
//! what means something else here than it did there.
//!
//! Pure: rows come in as JSON, texts and a report go out. Nothing here reads a database, a file or a clock.

mod row;

mod portal;

mod metrics;

mod series;

mod function;

mod condition;

mod window;

mod binding;

mod nodata;

mod rule;

mod strategy;

mod expression;

mod formula;

mod aggregator;

mod groups;

mod receivers;

mod general;

mod yaml;

mod report;

mod import;

pub use groups::HostGroup;
pub use import::{Format, Import, Options, RuleFile, RuleGroupText, Scope, import};
pub use portal::{Portal, PortalError, TABLES, Table};
pub use report::{Entry, Note, Origin, Outcome, Report};
pub use row::RowFault;
