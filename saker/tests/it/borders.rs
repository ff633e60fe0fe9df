//! The borders between crates are those of docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::stack::repository;

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The rows `| crate | may use |` of the table.
fn allowed() -> Edges {
    let text = fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let table =
        text.split("<!-- crate edges -->").nth(1).expect("the table stands between two marks");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &str| -> BTreeSet<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        (names(cells[1]).pop_first().expect("a name"), names(cells[2]))
    })
    .collect()
}

/// What the manifests say, tests left out.
fn actual() -> Edges {
    let root = repository();
    let workspace: toml::Table = read(&root.join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let manifests: Vec<toml::Table> = members
        .iter()
        .map(|member| read(&root.join(member.as_str().unwrap()).join("Cargo.toml")))
        .collect();
    let name = |manifest: &toml::Table| manifest["package"]["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = manifests.iter().map(name).collect();
    let edges = |manifest: &toml::Table| -> BTreeSet<String> {
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        dependencies
            .into_iter()
            .flat_map(toml::Table::keys)
            .filter(|key| ours.contains(*key))
            .cloned()
            .collect()
    };
    manifests.iter().map(|manifest| (name(manifest), edges(manifest))).collect()
}

fn read(path: &std::path::Path) -> toml::Table {
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_crate_uses_only_what_the_table_allows() {
    let allowed = allowed();
    for (name, used) in actual() {
        let may_use = allowed.get(&name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let beyond: Vec<_> = used.difference(may_use).collect();
        assert!(
            beyond.is_empty(),
            "{name} uses {beyond:?}, which docs/ARCHITECTURE.md does not allow"
        );
    }
}

#[test]
fn the_table_allows_nothing_that_is_not_used() {
    let actual = actual();
    for (name, may_use) in allowed() {
        let used =
            actual.get(&name).unwrap_or_else(|| panic!("{name} of the table does not exist"));
        let unused: Vec<_> = may_use.difference(used).collect();
        assert!(
            unused.is_empty(),
            "{name} does not use {unused:?}; take it out of docs/ARCHITECTURE.md"
        );
    }
}

#[test]
fn member_manifests_name_no_versions() {
    let root = repository();
    let workspace: toml::Table = read(&root.join("Cargo.toml"));
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let manifest = read(&root.join(member.as_str().unwrap()).join("Cargo.toml"));
        for section in ["dependencies", "dev-dependencies"] {
            let dependencies = manifest.get(section).and_then(toml::Value::as_table);
            for (name, value) in dependencies.into_iter().flatten() {
                assert!(
                    value.get("workspace").is_some(),
                    "{member}: {name} must be `workspace = true`"
                );
            }
        }
    }
}
