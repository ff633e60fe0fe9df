//! The tables of a portal database, read from their JSON form: an object with a list of rows a table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use thiserror::Error;

use crate::row::{Row, RowFault};

/// Rows of one table beyond this are refused: the largest installations have some hundred thousand.
const ROWS_MAX: usize = 2_000_000;
/// Faulty rows that are named one by one in each table.
const FAULTS_MAX: usize = 1000;

/// A table that is read, and its columns. Those that a database does not have are taken as empty: the
/// fork has more than the original, and older ones have less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, the one it is read in order of first.
    pub columns: &'static [&'static str],
}

/// Every table of the portal database that is read.
pub const TABLES: [Table; 11] = [
    Table { name: "host", columns: &["id", "hostname", "maintain_begin", "maintain_end"] },
    Table { name: "grp", columns: &["id", "grp_name"] },
    Table { name: "grp_host", columns: &["grp_id", "host_id"] },
    Table { name: "grp_tpl", columns: &["grp_id", "tpl_id"] },
    Table { name: "tpl", columns: &["id", "tpl_name", "parent_id", "action_id", "create_user"] },
    Table { name: "strategy", columns: &STRATEGY },
    Table { name: "expression", columns: &EXPRESSION },
    Table { name: "action", columns: &["id", "uic", "url", "callback"] },
    Table { name: "mockcfg", columns: &NODATA },
    Table { name: "cluster", columns: &AGGREGATOR },
    Table { name: "plugin_dir", columns: &["id", "grp_id", "dir"] },
];

const STRATEGY: [&str; 13] = [
    "id",
    "metric",
    "tags",
    "max_step",
    "priority",
    "func",
    "op",
    "right_value",
    "note",
    "run_begin",
    "run_end",
    "tpl_id",
    "union_strategy_id",
];
const EXPRESSION: [&str; 10] = [
    "id",
    "expression",
    "func",
    "op",
    "right_value",
    "max_step",
    "priority",
    "note",
    "action_id",
    "pause",
];
const NODATA: [&str; 9] =
    ["id", "name", "obj", "obj_type", "metric", "tags", "dstype", "step", "mock"];
const AGGREGATOR: [&str; 8] =
    ["id", "grp_id", "numerator", "denominator", "endpoint", "metric", "tags", "step"];

/// Why the whole of an export cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PortalError {
    /// It is not one object with the tables as its keys.
    #[error(
        "the export must be one JSON object with a list of rows a table, as \
         {{\"strategy\": [{{\"id\": 1, …}}], …}}"
    )]
    NotAnObject,
    /// A table is something else than a list.
    #[error("the table {0} must be a list of rows")]
    NotAList(&'static str),
    /// A table has too many rows.
    #[error("the table {0} has more than {ROWS_MAX} rows")]
    TooManyRows(&'static str),
}

/// What a portal database says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Portal {
    /// Names by id.
    pub(crate) hosts: BTreeMap<i64, String>,
    /// Maintenance windows by host's name, in seconds since the epoch.
    pub(crate) maintenance: BTreeMap<String, (i64, i64)>,
    pub(crate) groups: BTreeMap<i64, String>,
    pub(crate) group_hosts: BTreeMap<i64, BTreeSet<i64>>,
    pub(crate) group_templates: BTreeMap<i64, BTreeSet<i64>>,
    pub(crate) templates: BTreeMap<i64, Template>,
    pub(crate) strategies: Vec<Strategy>,
    pub(crate) expressions: Vec<Expression>,
    pub(crate) actions: BTreeMap<i64, Action>,
    pub(crate) nodata: Vec<NoData>,
    pub(crate) aggregators: Vec<Aggregator>,
    /// Folders of plugins by group.
    pub(crate) plugin_folders: BTreeMap<i64, BTreeSet<String>>,
    pub(crate) counters: Vec<Counter>,
}

/// A template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pub(crate) name: String,
    /// 0 for none.
    pub(crate) parent: i64,
    pub(crate) action: i64,
}

/// What a rule compares, how often it tells, and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) function: String,
    pub(crate) operator: String,
    pub(crate) threshold: f64,
    pub(crate) notifications_max: i64,
    pub(crate) priority: i64,
    pub(crate) note: String,
}

/// A rule of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strategy {
    pub(crate) id: i64,
    pub(crate) metric: String,
    pub(crate) tags: String,
    pub(crate) trigger: Trigger,
    pub(crate) run_begin: String,
    pub(crate) run_end: String,
    pub(crate) template: i64,
    /// The combined rule of the fork that it is a part of; 0 for none.
    pub(crate) union: i64,
}

/// A rule without a template: for every series with its tags.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression {
    pub(crate) id: i64,
    pub(crate) text: String,
    pub(crate) trigger: Trigger,
    pub(crate) action: i64,
    pub(crate) is_paused: bool,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Action {
    /// Teams, with commas between.
    pub(crate) teams: String,
    /// Called with GET; empty for none.
    pub(crate) callback: String,
}

/// A value that is pushed in the place of missing samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NoData {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) kind: NoDataKind,
    pub(crate) objects: Vec<String>,
    pub(crate) metric: String,
    pub(crate) tags: String,
    pub(crate) step: i64,
    pub(crate) value: f64,
}

/// What the objects of a [`NoData`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDataKind {
    Hosts,
    Groups,
    /// Endpoints that are no hosts.
    Other,
}

/// A sum over the hosts of a group, divided by another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Aggregator {
    pub(crate) id: i64,
    pub(crate) group: i64,
    pub(crate) numerator: String,
    pub(crate) denominator: String,
    pub(crate) endpoint: String,
    pub(crate) metric: String,
    pub(crate) tags: String,
    pub(crate) step: i64,
}

/// What the graph database knows of the series of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter {
    pub(crate) metric: String,
    pub(crate) is_counter: bool,
    pub(crate) step: i64,
}

impl Portal {
    /// Reads an export: `{"strategy": [{"id": 1, "metric": "cpu.idle", …}], "tpl": […], …}` with the
    /// tables and columns of [`TABLES`], and `endpoint_counter` (`counter`, `step`, `type`) of the graph
    /// database. Tables that are missing are empty. Rows that cannot be used are told and left out.
    ///
    /// # Errors
    /// When it is not of this form, or a table has more than two million rows.
    pub fn read(export: &Value) -> Result<(Self, Vec<RowFault>), PortalError> {
        let Value::Object(tables) = export else { return Err(PortalError::NotAnObject) };
        let mut portal = Self::default();
        let mut faults = Vec::new();
        let names = TABLES.iter().map(|table| table.name).chain(["endpoint_counter"]);
        for table in names {
            let rows = match tables.get(table) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(rows)) => rows,
                Some(_) => return Err(PortalError::NotAList(table)),
            };
            if rows.len() > ROWS_MAX {
                return Err(PortalError::TooManyRows(table));
            }
            let taken = rows.iter().enumerate().filter_map(|(place, value)| {
                Row::new(table, place, value).and_then(|row| portal.take(table, &row)).err()
            });
            let bad: Vec<RowFault> = taken.collect();
            let unnamed = bad.len().saturating_sub(FAULTS_MAX);
            faults.extend(bad.into_iter().take(FAULTS_MAX));
            if unnamed > 0 {
                let reason = "rows that cannot be used either are not named".to_owned();
                faults.push(RowFault { table, row: format!("{unnamed} more"), reason });
            }
        }
        Ok((portal, faults))
    }

    fn take(&mut self, table: &'static str, row: &Row<'_>) -> Result<(), RowFault> {
        match table {
            "host" => self.take_host(row)?,
            "grp" => drop(self.groups.insert(row.id("id")?, row.word("grp_name")?)),
            "grp_host" => pair(&mut self.group_hosts, row.id("grp_id")?, row.id("host_id")?),
            "grp_tpl" => pair(&mut self.group_templates, row.id("grp_id")?, row.id("tpl_id")?),
            "tpl" => drop(self.templates.insert(row.id("id")?, template(row)?)),
            "strategy" => self.strategies.push(strategy(row)?),
            "expression" => self.expressions.push(expression(row)?),
            "action" => drop(self.actions.insert(row.id("id")?, action(row)?)),
            "mockcfg" => self.nodata.push(nodata(row)?),
            "cluster" => self.aggregators.push(aggregator(row)?),
            "plugin_dir" => pair(&mut self.plugin_folders, row.id("grp_id")?, row.word("dir")?),
            _ => self.counters.push(counter(row)?),
        }
        Ok(())
    }

    fn take_host(&mut self, row: &Row<'_>) -> Result<(), RowFault> {
        let (id, name) = (row.id("id")?, row.word("hostname")?);
        let (begin, end) =
            (row.integer_or("maintain_begin", 0)?, row.integer_or("maintain_end", 0)?);
        if 0 < begin && begin < end {
            self.maintenance.insert(name.clone(), (begin, end));
        }
        self.hosts.insert(id, name);
        Ok(())
    }

    /// The names of the hosts of a group.
    pub(crate) fn hosts_of(&self, group: i64) -> BTreeSet<&str> {
        let ids = self.group_hosts.get(&group).into_iter().flatten();
        ids.filter_map(|id| self.hosts.get(id)).map(String::as_str).collect()
    }

    /// How many things it has that may become rules.
    pub fn rules(&self) -> usize {
        self.strategies.len() + self.expressions.len() + self.aggregators.len() + self.nodata.len()
    }

    /// Windows of maintenance that end after a moment, both in seconds since the epoch: host, begin, end.
    pub fn maintenance_after(&self, now: i64) -> Vec<(&str, i64, i64)> {
        let windows = self.maintenance.iter().filter(|(_, (_, end))| *end > now);
        windows.map(|(host, (begin, end))| (host.as_str(), *begin, *end)).collect()
    }
}

fn pair<T: Ord>(pairs: &mut BTreeMap<i64, BTreeSet<T>>, one: i64, other: T) {
    pairs.entry(one).or_default().insert(other);
}

fn template(row: &Row<'_>) -> Result<Template, RowFault> {
    Ok(Template {
        name: row.word("tpl_name")?,
        parent: row.integer_or("parent_id", 0)?,
        action: row.integer_or("action_id", 0)?,
    })
}

fn trigger(row: &Row<'_>) -> Result<Trigger, RowFault> {
    let threshold = row.word("right_value")?;
    let number = threshold.parse().ok().filter(|number: &f64| number.is_finite());
    Ok(Trigger {
        function: row.word("func")?,
        operator: row.word("op")?,
        threshold: number.ok_or_else(|| {
            row.fault(format!("right_value is {threshold:?} and no decimal number"))
        })?,
        notifications_max: row.integer_or("max_step", 1)?,
        priority: row.integer_or("priority", 0)?,
        note: row.text("note")?,
    })
}

fn strategy(row: &Row<'_>) -> Result<Strategy, RowFault> {
    Ok(Strategy {
        id: row.id("id")?,
        metric: row.word("metric")?,
        tags: row.text("tags")?,
        trigger: trigger(row)?,
        run_begin: row.text("run_begin")?,
        run_end: row.text("run_end")?,
        template: row.id("tpl_id")?,
        union: row.integer_or("union_strategy_id", 0)?,
    })
}

fn expression(row: &Row<'_>) -> Result<Expression, RowFault> {
    Ok(Expression {
        id: row.id("id")?,
        text: row.word("expression")?,
        trigger: trigger(row)?,
        action: row.integer_or("action_id", 0)?,
        is_paused: row.integer_or("pause", 0)? != 0,
    })
}

fn action(row: &Row<'_>) -> Result<Action, RowFault> {
    let is_called = row.integer_or("callback", 0)? != 0;
    let callback = if is_called { row.text("url")? } else { String::new() };
    Ok(Action { teams: row.text("uic")?, callback })
}

fn nodata(row: &Row<'_>) -> Result<NoData, RowFault> {
    let kind = match row.text("obj_type")?.as_str() {
        "host" => NoDataKind::Hosts,
        "group" => NoDataKind::Groups,
        "other" => NoDataKind::Other,
        word => return Err(row.fault(format!("obj_type {word:?} is none of host, group, other"))),
    };
    if !matches!(row.text("dstype")?.as_str(), "" | "GAUGE") {
        return Err(row.fault("dstype must be GAUGE"));
    }
    let objects = row.text("obj")?;
    let objects = objects.lines().map(str::trim).filter(|object| !object.is_empty());
    Ok(NoData {
        id: row.id("id")?,
        name: row.text("name")?,
        kind,
        objects: objects.map(str::to_owned).collect(),
        metric: row.word("metric")?,
        tags: row.text("tags")?,
        step: positive(row, "step")?,
        value: row.number_or("mock", 0.0)?,
    })
}

fn aggregator(row: &Row<'_>) -> Result<Aggregator, RowFault> {
    Ok(Aggregator {
        id: row.id("id")?,
        group: row.id("grp_id")?,
        numerator: row.word("numerator")?,
        denominator: row.word("denominator")?,
        endpoint: row.word("endpoint")?,
        metric: row.word("metric")?,
        tags: row.text("tags")?,
        step: positive(row, "step")?,
    })
}

fn counter(row: &Row<'_>) -> Result<Counter, RowFault> {
    let name = row.word("counter")?;
    let is_counter = match row.text("type")?.as_str() {
        "GAUGE" => false,
        "COUNTER" | "DERIVE" => true,
        word => return Err(row.fault(format!("type {word:?} is none of GAUGE, COUNTER, DERIVE"))),
    };
    let metric = name.split('/').next().unwrap_or(&name).to_owned();
    Ok(Counter { metric, is_counter, step: positive(row, "step")? })
}

/// A step: seconds, at most a day.
fn positive(row: &Row<'_>, column: &str) -> Result<i64, RowFault> {
    match row.integer_or(column, 60)? {
        step @ 1..=86_400 => Ok(step),
        step => Err(row.fault(format!("{column} {step} is not between 1 and 86400 seconds"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest};
    use serde_json::{Value, json};

    use super::{FAULTS_MAX, Portal, PortalError, RowFault, TABLES};

    #[test]
    fn a_bad_row_never_costs_the_good_ones() {
        let good = json!({
            "id": 1, "metric": "cpu.idle", "func": "all(#3)", "op": "<", "right_value": "10", "tpl_id": 1,
        });
        let mut bad = good.clone();
        (bad["id"], bad["right_value"]) = (json!(2), json!("ten"));
        let export = json!({
            "strategy": [bad, 7, good],
            "host": [{ "id": 1, "hostname": "web-1" }, { "id": 2 }],
            "tpl": null,
            "unknown": "x",
        });
        let (portal, faults) = Portal::read(&export).unwrap();
        assert_eq!((portal.strategies.len(), portal.hosts.len()), (1, 1));
        let faults: Vec<String> = faults.iter().map(RowFault::to_string).collect();
        assert_eq!(
            faults,
            [
                "host 2: hostname is empty",
                "strategy 2: right_value is \"ten\" and no decimal number",
                "strategy row 2: it is no object",
            ]
        );
    }

    #[test]
    fn something_else_than_tables_is_refused() {
        assert_eq!(Portal::read(&json!([])), Err(PortalError::NotAnObject));
        assert_eq!(Portal::read(&json!({ "grp": 1 })), Err(PortalError::NotAList("grp")));
    }

    #[test]
    fn only_so_many_bad_rows_are_named() {
        let rows: Vec<_> = (0..FAULTS_MAX + 5).map(|_| json!({})).collect();
        let (_, faults) = Portal::read(&json!({ "grp": rows })).unwrap();
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert_eq!(faults[FAULTS_MAX].row, "5 more");
    }

    #[test]
    fn a_window_of_maintenance_is_told_until_it_ends() {
        let host = json!({ "id": 1, "hostname": "a", "maintain_begin": 10, "maintain_end": 20 });
        let (portal, _) = Portal::read(&json!({ "host": [host] })).unwrap();
        assert_eq!(portal.maintenance_after(19), [("a", 10, 20)]);
        assert_eq!(portal.maintenance_after(20), []);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z0-9.=,#()$/-]{0,12}".prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn no_row_makes_it_panic(
            table in prop::sample::select(TABLES.to_vec()),
            values in prop::collection::vec(any_value(), 13),
        ) {
            let fields = table.columns.iter().map(|column| (*column).to_owned()).zip(values);
            let export = json!({ table.name: [Value::Object(fields.collect())] });
            prop_assert!(Portal::read(&export).is_ok());
        }
    }
}
