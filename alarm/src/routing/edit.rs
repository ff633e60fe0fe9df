//! What becomes of a wish to change objects: which rows there are then, or why it is refused. Pure.
//!
//! All is checked as a whole, the way it will be used: **what was good must stay good.** So a receiver
//! that a route names cannot be removed, nor a template that a receiver calls, whatever the kinds.

use db::{ExpectedVersion, RoutingRow};
use model::Timestamp;
use serde_json::{Value, json};
use thiserror::Error;

use super::{OBJECT_BYTES_MAX, OBJECTS_MAX, ObjectKind, ROOT, name_fault, read_body, secrets};
use crate::plan::{Plan, Stored};

/// A wish.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    /// JSON, YAML, or the text of a template; `None` removes the object.
    pub(crate) body: Option<String>,
    pub(crate) expected: ExpectedVersion,
}

/// Why a wish is refused.
#[derive(Debug, Error)]
pub(crate) enum EditFault {
    /// It must not be as it was asked for.
    #[error("{0}")]
    Faulty(String),
    /// The settings or the file have it.
    #[error("{what} is in {origin}; change it there, or take another name")]
    Elsewhere { what: String, origin: String },
    /// There is no such object.
    #[error("there is no {0}")]
    Unknown(String),
    /// Somebody else changed it meanwhile.
    #[error(
        "{what} was changed meanwhile, version {holds} holds; look at it and send the change again"
    )]
    Conflict { what: String, holds: i64 },
    /// Others would not work any more.
    #[error("{what} is needed by {by}; change or remove that first ({why})")]
    Needed { what: String, by: String, why: String },
    /// There is no room.
    #[error("there would be more than {OBJECTS_MAX} objects; remove some")]
    TooMany,
}

/// A change that is to be stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    pub(crate) body: Option<String>,
    /// What it was and what it is, secrets hidden.
    pub(crate) detail: String,
}

/// What wishes come to.
pub(crate) struct Edited {
    /// Those that change something.
    pub(crate) changes: Vec<Change>,
    /// The plan that holds then.
    pub(crate) plan: Plan,
}

/// How an object is called in words.
pub(crate) fn called(kind: &str, name: &str) -> String {
    format!("{} {name:?}", kind.replace('_', " "))
}

/// Applies wishes to the rows that are there, over what the settings or the file say.
pub(crate) fn edit(
    base: &Plan,
    rows: &[RoutingRow],
    wishes: Vec<Wish>,
) -> Result<Edited, EditFault> {
    let mut after = rows.to_vec();
    let mut changes = Vec::new();
    for wish in wishes {
        changes.extend(apply(base, &mut after, wish)?);
    }
    let plan = base.joined(&after);
    if changes.is_empty() {
        return Ok(Edited { changes, plan });
    }
    if after.len() > OBJECTS_MAX && after.len() > rows.len() {
        return Err(EditFault::TooMany);
    }
    let is_changed = |stored: &&Stored| {
        changes
            .iter()
            .any(|change| change.kind.as_str() == stored.kind && change.name == stored.name)
    };
    let amiss = || plan.stored.iter().filter(|stored| !stored.fault.is_empty());
    let faults: Vec<String> = amiss().filter(is_changed).map(told).collect();
    if !faults.is_empty() {
        return Err(EditFault::Faulty(faults.join("; ")));
    }
    let before = base.joined(rows);
    let was_good = |stored: &&Stored| {
        let same = |old: &&Stored| old.kind == stored.kind && old.name == stored.name;
        before.stored.iter().find(same).is_some_and(|old| old.fault.is_empty())
    };
    let hurt: Vec<&Stored> = amiss().filter(was_good).collect();
    if let Some(first) = hurt.first() {
        let whats = changes.iter().map(|change| called(change.kind.as_str(), &change.name));
        let bys = hurt.iter().map(|stored| called(&stored.kind, &stored.name));
        return Err(EditFault::Needed {
            what: whats.collect::<Vec<_>>().join(", "),
            by: bys.collect::<Vec<_>>().join(", "),
            why: first.fault.clone(),
        });
    }
    Ok(Edited { changes, plan })
}

fn told(stored: &Stored) -> String {
    format!("{}: {}", called(&stored.kind, &stored.name), stored.fault)
}

/// Puts one wish into the rows; `None` when nothing changes by it.
fn apply(base: &Plan, rows: &mut Vec<RoutingRow>, wish: Wish) -> Result<Option<Change>, EditFault> {
    let Wish { kind, name, body, expected } = wish;
    let what = called(kind.as_str(), &name);
    if let Some(fault) = name_fault(&name) {
        return Err(EditFault::Faulty(fault));
    }
    let at = rows.iter().position(|row| row.kind == kind.as_str() && row.name == name);
    if at.is_none() && is_elsewhere(base, kind, &name) {
        return Err(EditFault::Elsewhere { what, origin: base.origin.clone() });
    }
    match (expected, at.map(|at| rows[at].version)) {
        (ExpectedVersion::None, Some(holds)) => return Err(EditFault::Conflict { what, holds }),
        (ExpectedVersion::Is(wanted), Some(holds)) if wanted != holds => {
            return Err(EditFault::Conflict { what, holds });
        }
        (ExpectedVersion::Is(_), None) => return Err(EditFault::Unknown(what)),
        _ => {}
    }
    let old = at.map(|at| rows[at].body.as_str());
    let Some(body) = body else {
        let Some(at) = at else { return Err(EditFault::Unknown(what)) };
        let detail = json!({ "before": shown(kind, &rows[at].body), "after": null }).to_string();
        rows.remove(at);
        return Ok(Some(Change { kind, name, body: None, detail }));
    };
    let faulty = |fault: String| EditFault::Faulty(format!("{what}: {fault}"));
    let body = canonical(kind, &name, &body, old).map_err(faulty)?;
    if old == Some(body.as_str()) {
        return Ok(None);
    }
    let before = old.map(|old| shown(kind, old));
    let detail = json!({ "before": before, "after": shown(kind, &body) }).to_string();
    let row = RoutingRow {
        kind: kind.as_str().to_owned(),
        name: name.clone(),
        body: body.clone(),
        version: 0,
        changed_at: Timestamp(0),
        changed_by: String::new(),
    };
    match at {
        Some(at) => rows[at] = row,
        None => rows.push(row),
    }
    Ok(Some(Change { kind, name, body: Some(body), detail }))
}

fn is_elsewhere(base: &Plan, kind: ObjectKind, name: &str) -> bool {
    match kind {
        ObjectKind::Route => name == ROOT && base.root.options.receiver.is_some(),
        ObjectKind::Receiver => base.receivers.iter().any(|known| known == name),
        ObjectKind::Inhibition => base.inhibit_rules.iter().any(|rule| rule.name == name),
        ObjectKind::TimeInterval => base.intervals.contains_key(name),
        ObjectKind::Template => !base.library.names_in(name).is_empty(),
    }
}

/// The body as it is stored: stored secrets in place of hidden ones, the name left to its column.
fn canonical(
    kind: ObjectKind,
    name: &str,
    text: &str,
    old: Option<&str>,
) -> Result<String, String> {
    if kind == ObjectKind::Template {
        return match text.len() {
            size if size > OBJECT_BYTES_MAX => {
                Err(format!("has {size} bytes, more than {OBJECT_BYTES_MAX}"))
            }
            _ => Ok(text.to_owned()),
        };
    }
    let mut object = read_body(text)?;
    if let Some(said) = object.remove("name")
        && said != name
    {
        return Err(format!("name: the object says {said}; a new name is a new object"));
    }
    if kind == ObjectKind::Receiver {
        secrets::check(&object)?;
        // One that was written by hand may be anything.
        let old = old.and_then(|old| read_body(old).ok());
        secrets::keep(&mut object, old.as_ref())?;
    }
    Ok(Value::Object(object).to_string())
}

/// The body as it may be shown.
pub(crate) fn shown(kind: ObjectKind, body: &str) -> Value {
    if kind == ObjectKind::Template {
        return json!({ "text": body });
    }
    let Ok(object) = read_body(body) else {
        // What cannot be read cannot be searched for secrets.
        return Value::Null;
    };
    let mut object = Value::Object(object);
    if kind == ObjectKind::Receiver {
        secrets::hide(&mut object);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    const FILE: &str = "route: {receiver: all}\nreceivers: [{name: all, webhook_configs: [{url: 'http://x/'}]}]\n\
        time_intervals: [{name: night, time_intervals: [{}]}]\n";
    const HOOK: &str = "webhook_configs: [{url: 'http://hook/s3cret'}]";

    fn wish(kind: ObjectKind, name: &str, body: Option<&str>) -> Wish {
        let (name, body) = (name.to_owned(), body.map(str::to_owned));
        Wish { kind, name, body, expected: ExpectedVersion::Any }
    }

    fn put(kind: ObjectKind, name: &str, body: &str) -> Wish {
        wish(kind, name, Some(body))
    }

    /// The rows after wishes that are granted.
    fn rows(wishes: Vec<Wish>) -> Vec<RoutingRow> {
        let edited = edit(&plan(FILE), &[], wishes).unwrap_or_else(|fault| panic!("{fault}"));
        let row = |(n, change): (usize, Change)| RoutingRow {
            kind: change.kind.as_str().to_owned(),
            name: change.name,
            body: change.body.unwrap(),
            version: n as i64 + 1,
            changed_at: Timestamp(0),
            changed_by: String::new(),
        };
        edited.changes.into_iter().enumerate().map(row).collect()
    }

    fn refused(rows: &[RoutingRow], wish: Wish) -> String {
        match edit(&plan(FILE), rows, vec![wish]) {
            Ok(_) => panic!("it was granted"),
            Err(fault) => fault.to_string(),
        }
    }

    fn both() -> Vec<RoutingRow> {
        rows(vec![
            put(ObjectKind::Receiver, "hook", HOOK),
            put(ObjectKind::Route, "db", "{matchers: [team=db], receiver: hook}"),
        ])
    }

    #[test]
    fn a_route_that_names_what_is_not_there_is_refused_with_words() {
        let fault = refused(&[], put(ObjectKind::Route, "db", "receiver: gone"));
        assert!(
            fault.contains("route \"db\": receiver \"gone\" is not defined; add it"),
            "{fault}"
        );
        let body = "{receiver: all, active_time_intervals: [noon]}";
        let fault = refused(&[], put(ObjectKind::Route, "db", body));
        assert!(fault.contains("time interval \"noon\" is not defined"), "{fault}");
        let fault = refused(&[], put(ObjectKind::Route, "db", "receiver: all\nmatchers: [\n"));
        assert!(fault.contains("line "), "{fault}");
        let fault = refused(
            &[],
            put(
                ObjectKind::Route,
                "db",
                "{receiver: all, escalations: [{after: 5m, receiver: x}]}",
            ),
        );
        assert!(fault.contains("receiver \"x\" is not defined"), "{fault}");
    }

    #[test]
    fn what_others_need_is_not_removed_and_they_are_named() {
        let rows = both();
        let fault = refused(&rows, wish(ObjectKind::Receiver, "hook", None));
        assert!(fault.contains("receiver \"hook\" is needed by route \"db\""), "{fault}");
        let wishes =
            vec![wish(ObjectKind::Receiver, "hook", None), wish(ObjectKind::Route, "db", None)];
        assert_eq!(
            edit(&plan(FILE), &rows, wishes).unwrap().changes.len(),
            2,
            "both at once may go"
        );
    }

    #[test]
    fn names_of_the_file_are_taken() {
        for (kind, name) in [
            (ObjectKind::Receiver, "all"),
            (ObjectKind::TimeInterval, "night"),
            (ObjectKind::Route, "root"),
        ] {
            let fault = refused(&[], put(kind, name, "receiver: all"));
            assert!(fault.contains("is in ") && fault.contains("change it there"), "{fault}");
        }
    }

    #[test]
    fn a_change_is_made_only_from_the_version_that_was_seen() {
        let rows = both();
        let from = |expected| Wish { expected, ..put(ObjectKind::Route, "db", "receiver: all") };
        assert!(edit(&plan(FILE), &rows, vec![from(ExpectedVersion::Is(2))]).is_ok());
        assert!(refused(&rows, from(ExpectedVersion::Is(1))).contains("version 2 holds"));
        assert!(refused(&rows, from(ExpectedVersion::None)).contains("version 2 holds"));
        assert!(refused(&[], from(ExpectedVersion::Is(1))).contains("there is no route"));
        assert!(refused(&[], wish(ObjectKind::Route, "db", None)).contains("there is no route"));
    }

    #[test]
    fn what_changes_nothing_is_no_change_and_secrets_are_in_no_detail() {
        let rows = both();
        let masked = "webhook_configs: [{url: <secret>}]";
        let same = edit(&plan(FILE), &rows, vec![put(ObjectKind::Receiver, "hook", masked)]);
        assert!(same.unwrap().changes.is_empty());
        let gone = edit(&plan(FILE), &rows, vec![wish(ObjectKind::Route, "db", None)]).unwrap();
        assert!(gone.changes[0].detail.contains("team=db"));
        let changed =
            put(ObjectKind::Receiver, "hook", "webhook_configs: [{url: 'http://hook/n3w'}]");
        let changed = edit(&plan(FILE), &rows, vec![changed]).unwrap().changes;
        assert!(!changed[0].detail.contains("s3cret") && !changed[0].detail.contains("n3w"));
        assert!(changed[0].body.as_ref().unwrap().contains("n3w"));
    }

    #[test]
    fn an_object_keeps_the_name_of_its_address() {
        let fault = refused(&[], put(ObjectKind::Route, "db", "{name: web, receiver: all}"));
        assert!(fault.contains("a new name is a new object"), "{fault}");
        assert!(refused(&[], put(ObjectKind::Route, " db", "receiver: all")).contains("no name"));
        let long = "x".repeat(OBJECT_BYTES_MAX + 1);
        assert!(refused(&[], put(ObjectKind::Template, "t", &long)).contains("bytes"));
    }

    #[test]
    fn what_was_bad_before_hinders_nobody() {
        let mut rows = both();
        rows.push(RoutingRow { name: "old".to_owned(), body: "{".to_owned(), ..rows[1].clone() });
        let wishes = vec![put(ObjectKind::Route, "web", "{matchers: [team=web], receiver: hook}")];
        assert!(edit(&plan(FILE), &rows, wishes).is_ok());
        let mend = vec![put(ObjectKind::Route, "old", "receiver: all")];
        assert!(edit(&plan(FILE), &rows, mend).is_ok());
    }
}
