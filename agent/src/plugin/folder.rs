//! The folder of local plugins.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::naming::{self, Binding};
use crate::config::Plugins;

/// Plugins that the configuration binds and that are there now: arguments by path below the folder. A script
/// that is bound alone is listed even when it is missing, so that its runs tell what is wrong.
pub fn scan(config: &Plugins) -> BTreeMap<String, Vec<String>> {
    let Some(folder) = &config.directory else { return BTreeMap::new() };
    let bindings: Vec<Binding> =
        config.run.iter().filter_map(|text| Binding::parse(text).ok()).collect();
    naming::resolve(&bindings, |below| executables(&folder.join(below)))
}

fn executables(folder: &Path) -> Vec<String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(folder = %folder.display(), %error, "cannot list a folder of plugins");
            return Vec::new();
        }
    };
    let is_executable = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let names = entries.flatten().filter(|entry| is_executable(&entry.path()));
    names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn only_executable_scripts_with_an_interval_are_plugins() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/60_folder")).unwrap();
        for (file, mode) in [("60_a.sh", 0o755), ("60_b.sh", 0o644), ("README", 0o755)] {
            let path = dir.path().join("sys").join(file);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let config = Plugins {
            directory: Some(dir.path().to_owned()),
            run: vec!["sys".into(), "none".into(), "gone/5_x(a)".into()],
            ..Plugins::default()
        };
        let scripts = scan(&config);
        assert_eq!(scripts.keys().collect::<Vec<_>>(), ["gone/5_x", "sys/60_a.sh"]);
        assert!(scan(&Plugins::default()).is_empty());
    }
}
