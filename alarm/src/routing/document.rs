//! All objects as one document in the form of Alertmanager's configuration file: what holds, what the
//! database holds, and objects read from such a file. Pure.
//!
//! Beside Alertmanager's keys a route has `name` and `position`, and templates stand in `template_texts`.

use db::{ExpectedVersion, RoutingRow};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::edit::{Wish, shown};
use super::{ObjectKind, ROOT};
use crate::amconfig::{with_globals, yaml_fault};
use crate::plan::Plan;

/// Between the positions of routes that have none of their own, so that one can be put between two.
const POSITION_STEP: usize = 10;

type Object = Map<String, Value>;

/// What the database holds, secrets hidden. Rows that cannot be read are left out.
pub(crate) fn stored(rows: &[RoutingRow]) -> Value {
    let of = |kind: ObjectKind| {
        rows.iter().filter(move |row| row.kind == kind.as_str()).filter_map(move |row| {
            let mut object = shown(kind, &row.body).as_object()?.to_owned();
            object.insert("name".to_owned(), json!(row.name));
            Some(object)
        })
    };
    let (roots, mut routes): (Vec<Object>, Vec<Object>) =
        of(ObjectKind::Route).partition(|route| route["name"] == ROOT);
    routes.sort_by_key(|route| route.get("position").and_then(Value::as_i64).unwrap_or(0));
    let mut root = roots.into_iter().next().unwrap_or_default();
    root.remove("name");
    root.insert("routes".to_owned(), json!(routes));
    let list = |kind| of(kind).collect::<Vec<_>>();
    json!({
        "route": root,
        "receivers": list(ObjectKind::Receiver),
        "inhibit_rules": list(ObjectKind::Inhibition),
        "time_intervals": list(ObjectKind::TimeInterval),
        "template_texts": list(ObjectKind::Template),
    })
}

/// What holds: the settings or the file, and what of the database is in use.
pub(crate) fn effective(plan: &Plan, rows: &[RoutingRow]) -> Value {
    let is_used = |row: &&RoutingRow| {
        let is_it = |one: &&crate::plan::Stored| one.kind == row.kind && one.name == row.name;
        plan.stored.iter().find(is_it).is_some_and(|stored| stored.fault.is_empty())
    };
    let used: Vec<RoutingRow> = rows.iter().filter(is_used).cloned().collect();
    let mut document = stored(&used);
    for key in ["receivers", "time_intervals"] {
        let mut list = of_base(plan, key);
        list.extend(document[key].as_array_mut().map(std::mem::take).unwrap_or_default());
        document[key] = Value::Array(list);
    }
    let (route, rules) = plan.written();
    document["route"] = route;
    document["inhibit_rules"] = rules;
    document["templates"] = plan.document.get("templates").cloned().unwrap_or(json!([]));
    document
}

/// The objects under a key of the file; time intervals by their older name too.
fn of_base(plan: &Plan, key: &str) -> Vec<Value> {
    let older = if key == "time_intervals" { "mute_time_intervals" } else { "" };
    let lists = [key, older].into_iter().filter_map(|key| plan.document.get(key)?.as_array());
    lists.flatten().cloned().collect()
}

/// What the settings or the file say of one kind, with the names of those that have one.
pub(crate) fn base_objects(base: &Plan, kind: ObjectKind) -> Vec<(String, Value)> {
    let named = |object: Value| (object["name"].as_str().unwrap_or("").to_owned(), object);
    match kind {
        ObjectKind::Receiver => of_base(base, "receivers").into_iter().map(named).collect(),
        ObjectKind::TimeInterval => {
            of_base(base, "time_intervals").into_iter().map(named).collect()
        }
        ObjectKind::Inhibition => of_base(base, "inhibit_rules").into_iter().map(named).collect(),
        ObjectKind::Template => {
            let texts = base.library.texts().into_iter();
            texts.map(|(name, text)| (name.to_owned(), json!({ "text": text }))).collect()
        }
        ObjectKind::Route => {
            let (mut root, _) = base.written();
            let children = root.as_object_mut().and_then(|root| root.remove("routes"));
            let children = children.as_ref().and_then(Value::as_array).cloned();
            let children = children.into_iter().flatten().map(|child| (String::new(), child));
            std::iter::once((ROOT.to_owned(), root)).chain(children).collect()
        }
    }
}

/// As YAML.
pub(crate) fn yaml(document: &Value) -> String {
    // JSON is YAML too.
    serde_saphyr::to_string(document).unwrap_or_else(|_| document.to_string())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    global: Option<Object>,
    route: Option<Object>,
    receivers: Option<Vec<Object>>,
    inhibit_rules: Option<Vec<Object>>,
    time_intervals: Option<Vec<Object>>,
    mute_time_intervals: Option<Vec<Object>>,
    templates: Option<Vec<String>>,
    template_texts: Option<Vec<TemplateText>>,
    tracing: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateText {
    name: String,
    text: String,
}

/// What a document asks for.
pub(crate) struct Import {
    pub(crate) wishes: Vec<Wish>,
    /// What is read and not used.
    pub(crate) warnings: Vec<String>,
}

/// Reads a document: a file of Alertmanager, or what [`stored`] wrote. `global` goes into the receivers.
pub(crate) fn import(text: &str) -> Result<Import, String> {
    let document: Document = serde_saphyr::from_str(text).map_err(|fault| {
        let fault = yaml_fault(&fault);
        format!("line {}: {}", fault.line.max(1), fault.message)
    })?;
    if let Some(pattern) = document.templates.iter().flatten().next() {
        return Err(format!(
            "templates: {pattern:?} is a file of some host; send what it says in \
             `template_texts: [{{name, text}}]`"
        ));
    }
    let mut import = Import { wishes: Vec::new(), warnings: Vec::new() };
    let global = document.global.unwrap_or_default();
    if global.contains_key("resolve_timeout") {
        import.warn("global.resolve_timeout", "set alarm.resolve_timeout in saker.toml");
    }
    if document.tracing.is_some() {
        import.warn("tracing", "it is for Alertmanager itself");
    }
    for template in document.template_texts.unwrap_or_default() {
        import.wish(ObjectKind::Template, template.name, template.text);
    }
    let intervals = document.time_intervals.into_iter().chain(document.mute_time_intervals);
    import.named(ObjectKind::TimeInterval, intervals.flatten())?;
    let receivers = document.receivers.unwrap_or_default().into_iter().map(|mut receiver| {
        with_globals(&mut receiver, &global);
        receiver
    });
    import.named(ObjectKind::Receiver, receivers)?;
    let rules = document.inhibit_rules.unwrap_or_default().into_iter().enumerate();
    import.named(ObjectKind::Inhibition, rules.map(|(n, rule)| with_name(n, rule)))?;
    import.routes(document.route.unwrap_or_default())?;
    Ok(import)
}

/// Names what has no name by its place, the same at every import.
fn with_name(n: usize, mut object: Object) -> Object {
    object.entry("name").or_insert_with(|| json!(format!("imported-{}", n + 1)));
    object
}

impl Import {
    fn warn(&mut self, key: &str, advice: &str) {
        self.warnings.push(format!("{key} is not used: {advice}"));
    }

    fn wish(&mut self, kind: ObjectKind, name: String, body: String) {
        self.wishes.push(Wish { kind, name, body: Some(body), expected: ExpectedVersion::Any });
    }

    fn named(
        &mut self,
        kind: ObjectKind,
        objects: impl Iterator<Item = Object>,
    ) -> Result<(), String> {
        for mut object in objects {
            let what = kind.as_str().replace('_', " ");
            let Some(Value::String(name)) = object.remove("name") else {
                return Err(format!("a {what} has no name; add `name:`"));
            };
            if self.wishes.iter().any(|wish| wish.kind == kind && wish.name == name) {
                return Err(format!("{what} {name:?} is there twice"));
            }
            self.wish(kind, name, Value::Object(object).to_string());
        }
        Ok(())
    }

    fn routes(&mut self, mut root: Object) -> Result<(), String> {
        let children = match root.remove("routes") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(children)) => children,
            Some(_) => return Err("route.routes: is no list".to_owned()),
        };
        let mut read = Vec::with_capacity(children.len() + 1);
        if !root.is_empty() {
            root.insert("name".to_owned(), json!(ROOT));
            read.push(root);
        }
        for (n, child) in children.into_iter().enumerate() {
            let Value::Object(child) = child else {
                return Err(format!("route.routes[{n}]: is no object"));
            };
            let mut child = with_name(n, child);
            child.entry("position").or_insert_with(|| json!((n + 1) * POSITION_STEP));
            read.push(child);
        }
        self.named(ObjectKind::Route, read.into_iter())
    }

    /// Also asks for the removal of all that is stored and not in the document.
    pub(crate) fn replacing(&mut self, rows: &[RoutingRow]) {
        for row in rows {
            let Some(kind) = ObjectKind::parse(&row.kind) else { continue };
            let is_kept = |wish: &Wish| wish.kind == kind && wish.name == row.name;
            if !self.wishes.iter().any(is_kept) {
                let (name, expected) = (row.name.clone(), ExpectedVersion::Any);
                self.wishes.push(Wish { kind, name, body: None, expected });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::routing::edit::edit;

    fn rows_of(base: &Plan, rows: &[RoutingRow], text: &str) -> Vec<RoutingRow> {
        let import = import(text).unwrap_or_else(|fault| panic!("{fault}"));
        let edited = edit(base, rows, import.wishes).unwrap_or_else(|fault| panic!("{fault}"));
        let row = |change: crate::routing::edit::Change| RoutingRow {
            kind: change.kind.as_str().to_owned(),
            name: change.name,
            body: change.body.unwrap(),
            version: 1,
            changed_at: Timestamp(0),
            changed_by: String::new(),
        };
        edited.changes.into_iter().map(row).collect()
    }

    const FILE: &str = "
global: {slack_api_url: 'http://slack/s3cret', resolve_timeout: 5m}
route:
  receiver: all
  group_by: [team]
  routes:
  - {matchers: [team=db], receiver: dba, continue: true, escalations: [{after: 15m, receiver: all}]}
  - {matchers: [team=web], mute_time_intervals: [night], routes: [{matchers: [x=y], receiver: dba}]}
receivers:
- name: all
  webhook_configs: [{url: 'http://hook/s3cret'}]
- name: dba
  slack_configs: [{channel: '#db', title: '{{ template \"t\" . }}'}]
inhibit_rules: [{source_matchers: [a=b], target_matchers: [c=d], equal: [e]}]
mute_time_intervals: [{name: night, time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]}]
template_texts: [{name: t.tmpl, text: '{{ define \"t\" }}{{ .Status }}{{ end }}'}]
";

    #[test]
    fn a_file_of_alertmanager_routes_as_before_once_it_is_in_the_database() {
        let base = Plan::load(&Config::default()).unwrap();
        let rows = rows_of(&base, &[], FILE);
        assert_eq!(rows.len(), 8, "{rows:?}");
        let plan = base.joined(&rows);
        assert!(plan.stored.iter().all(|stored| stored.fault.is_empty()), "{:?}", plan.stored);
        let direct = crate::amconfig::read(&FILE[..FILE.find("template_texts").unwrap()]).unwrap();
        let direct = crate::route::Tree::new(direct.route);
        for pairs in [
            [("team", "db"), ("x", "y")],
            [("team", "web"), ("x", "y")],
            [("team", "web"), ("x", "z")],
            [("team", "net"), ("x", "y")],
        ] {
            let labels = Labels::from_pairs(pairs);
            let leaves = |tree: &crate::route::Tree| {
                let at = |at: usize| tree.leaves()[at].to_owned();
                tree.leaves_of(&labels).into_iter().map(at).collect::<Vec<_>>()
            };
            assert_eq!(leaves(&plan.tree), leaves(&direct), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_exported_is_imported_without_a_change() {
        let base = Plan::load(&Config::default()).unwrap();
        let rows = rows_of(&base, &[], FILE);
        let text = yaml(&stored(&rows));
        assert!(!text.contains("s3cret") && text.contains("<secret>"), "{text}");
        let again = import(&text).unwrap_or_else(|fault| panic!("{fault} in\n{text}"));
        let edited = edit(&base, &rows, again.wishes);
        let edited = edited.unwrap_or_else(|fault| panic!("{fault} in\n{text}"));
        assert!(edited.changes.is_empty());
    }

    #[test]
    fn what_holds_is_a_file_with_hidden_secrets() {
        let base = Plan::load(&Config::default()).unwrap();
        let rows = rows_of(&base, &[], FILE);
        let plan = base.joined(&rows);
        let text = yaml(&effective(&plan, &rows));
        assert!(!text.contains("s3cret") && text.contains("escalations"), "{text}");
        let mut alike = effective(&plan, &rows);
        // Alertmanager's own tool would not know this key.
        alike.as_object_mut().unwrap().remove("template_texts");
        let file = crate::amconfig::read(&yaml(&alike)).expect("it is one");
        assert_eq!(file.receivers.len(), 2);
        assert_eq!(file.route.routes[0].escalations.len(), 1);
    }

    #[test]
    fn what_an_import_cannot_do_is_said() {
        for (text, expected) in [
            ("templates: ['/etc/x/*.tmpl']", "template_texts"),
            ("receivers: [{webhook_configs: []}]", "has no name"),
            ("receivers: [{name: a}, {name: a}]", "twice"),
            ("route: {routes: 7}", "no list"),
            ("route:\n  receiver: a\nrotue: {}", "line 3"),
            ("route: [", "line 1"),
        ] {
            let fault = import(text).err().unwrap();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        let warnings = import("{global: {resolve_timeout: 1m}, tracing: {}}").unwrap().warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn what_a_document_does_not_have_is_removed_only_if_so_asked() {
        let base = Plan::load(&Config::default()).unwrap();
        let rows = rows_of(&base, &[], FILE);
        let mut import =
            import("receivers: [{name: all, webhook_configs: [{url: <secret>}]}]").unwrap();
        assert_eq!(edit(&base, &rows, import.wishes.clone()).unwrap().changes.len(), 0);
        import.replacing(&rows);
        let edited = edit(&base, &rows, import.wishes).unwrap();
        assert_eq!((edited.changes.len(), edited.plan.receivers.len()), (7, 1));
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(text in "\\PC{0,80}|[a-z:\\[\\]{}' \n-]{0,80}") {
            let _ = import(&text);
        }
    }
}
