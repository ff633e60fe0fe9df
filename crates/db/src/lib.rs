//! The SQL store: one module a table group, and the only place with SQL text.
//!
//! SQLite embedded in the process, or MySQL / MariaDB. Both run the same statements: what they bind
//! and read is an integer, a text or bytes, and nothing else. The schema lives in `/sql`, one
//! folder for every database (`docs/adr/0001-one-migrations-folder.md`). Conventions: times are
//! milliseconds in BIGINT, keys VARCHAR, identifiers are made by the application. Every table has
//! one unique key; an insert that hits it is followed by an update, never `ON DUPLICATE KEY
//! UPDATE`, which locks too much (MySQL bug 58637).

mod alert_lists;
pub mod alerts;
pub mod audit;
mod bundles;
mod circles;
pub mod claims;
mod config;
mod data_centres;
pub mod directory;
mod error;
mod groups;
mod hosts;
mod maintenance;
pub mod messages;
mod migrate;
mod mutes;
pub mod noise;
mod pool;
mod portal;
mod record;
mod routing;
mod rules;
mod silences;
mod state;
mod statement;
mod trail;
mod transaction;
mod upgrades;
mod upsert;

pub use alert_lists::{AlertList, LISTED_ALERTS_MAX};
pub use alerts::Alerts;
pub use audit::{Audit, AuditEntry};
pub use bundles::{Bundles, FileRow};
pub use circles::{
    CircleMember, CircleView, Circles, Membership, ShareRow, TurnAnswer, Want, Work,
};
pub use config::DbConfig;
pub use data_centres::{DataCentreRow, DataCentres};
pub use directory::Directory;
pub use error::DbError;
pub use groups::{GroupRow, Groups, MemberBy, MemberRow};
pub use hosts::{HostRow, Hosts};
pub use maintenance::{MaintenanceOf, MaintenanceRow, Maintenances, host_of, window_of};
pub use messages::Messages;
pub use mutes::{MuteRow, Mutes};
pub use pool::Db;
pub use portal::{Portal, PortalRow};
pub use routing::{Routing, RoutingChange, RoutingRow};
pub use rules::{
    EditOutcome, ExpectedVersion, RULE_GROUP_VERSIONS_MAX, RuleGroupEdit, RuleGroupRow,
    RuleGroupVersion, RuleGroups,
};
pub use silences::{SilenceRow, Silences};
pub use state::{EventRow, LeaseRow, StateTables};
pub use trail::Trail;
pub use transaction::Statistics;
pub use upgrades::{
    Admission, Admitted, GroupLimit, HostPhase, HostReport, UpgradeHostRow, UpgradePlanRow,
    UpgradeTally, Upgrades,
};
