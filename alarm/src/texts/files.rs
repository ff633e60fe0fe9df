//! Files with definitions, named by patterns as in Alertmanager.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use template::Library;

/// A larger file is refused.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that the patterns of one setting may name.
const FILES_MAX: usize = 1_000;

/// Adds the definitions of the files that the patterns name to a library. A pattern that begins with no slash is about
/// `folder`. Gives the patterns that name no file; fails with all faults.
pub(crate) fn add(
    library: &mut Library,
    folder: &Path,
    patterns: &[String],
) -> Result<Vec<String>, Vec<String>> {
    let (mut unused, mut faults) = (Vec::new(), Vec::new());
    for pattern in patterns {
        match find(folder, pattern) {
            Ok(files) if files.is_empty() => unused.push(pattern.to_owned()),
            Ok(files) if files.len() > FILES_MAX => {
                faults.push(format!("templates {pattern:?}: more than {FILES_MAX} files"));
            }
            Ok(files) => files.iter().for_each(|file| read(library, file, &mut faults)),
            Err(error) => faults.push(format!("templates {pattern:?}: {error}")),
        }
    }
    if faults.is_empty() { Ok(unused) } else { Err(faults) }
}

fn read(library: &mut Library, file: &Path, faults: &mut Vec<String>) {
    let name = file.display().to_string();
    let text = fs::metadata(file).and_then(|found| match found.len() {
        size if size > FILE_BYTES_MAX => {
            Err(io::Error::other(format!("has {size} bytes, more than {FILE_BYTES_MAX}")))
        }
        _ => fs::read_to_string(file),
    });
    match text {
        Ok(text) => {
            if let Err(found) = library.add(&name, &text) {
                faults.extend(found.iter().map(ToString::to_string));
            }
        }
        Err(error) => faults.push(format!("{name}: cannot be read: {error}")),
    }
}

/// The files that a pattern names, in the order of their names. `*`, `?` and `[a-z]` stand for parts of one name.
pub(crate) fn find(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![if pattern.starts_with('/') { "/".into() } else { folder.to_owned() }];
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else {
            if component == Component::ParentDir {
                found.iter_mut().for_each(|path| path.push(".."));
            }
            continue;
        };
        let name = name.to_string_lossy();
        let mut next = Vec::new();
        for path in found {
            if name.contains(['*', '?', '[']) {
                next.extend(matching(&path, &name)?);
            } else {
                next.push(path.join(&*name));
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn matching(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        Err(_) => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if is_match(pattern, &name) {
            found.push(folder.join(&*name));
        }
    }
    Ok(found)
}

/// Whether a name is one that the pattern means. Linear for each star: it goes back to the last one only.
fn is_match(pattern: &str, name: &str) -> bool {
    let (mut rest, mut left) = (pattern, name);
    let mut retry: Option<(&str, &str)> = None;
    loop {
        if let Some(after) = rest.strip_prefix('*') {
            retry = Some((after, left));
            rest = after;
            continue;
        }
        match (one(rest, left), left.is_empty()) {
            (Some((after, behind)), _) => (rest, left) = (after, behind),
            (None, true) if rest.is_empty() => return true,
            _ => match retry {
                Some((after, from)) if !from.is_empty() => {
                    let mut letters = from.chars();
                    letters.next();
                    (rest, left) = (after, letters.as_str());
                    retry = Some((after, left));
                }
                _ => return false,
            },
        }
    }
}

/// What is left when the first part of the pattern takes the first letter of the name.
fn one<'a>(pattern: &'a str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let mut letters = name.chars();
    let letter = letters.next()?;
    let mut parts = pattern.chars();
    let after = match parts.next()? {
        '?' => parts.as_str(),
        '[' => {
            let (set, after) = parts.as_str().split_once(']')?;
            let (is_in, set) = set.strip_prefix('^').map_or((true, set), |set| (false, set));
            (in_set(set, letter) == is_in).then_some(after)?
        }
        '\\' => (parts.next()? == letter).then_some(parts.as_str())?,
        part => (part == letter).then_some(parts.as_str())?,
    };
    Some((after, letters.as_str()))
}

fn in_set(set: &str, letter: char) -> bool {
    let letters: Vec<char> = set.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let is_range = letters.get(at + 1) == Some(&'-') && at + 2 < letters.len();
        let last = if is_range { letters[at + 2] } else { letters[at] };
        if (letters[at]..=last).contains(&letter) {
            return true;
        }
        at += if is_range { 3 } else { 1 };
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_a_shell() {
        for (pattern, name, is_so) in [
            ("*.tmpl", "a.tmpl", true),
            ("*.tmpl", "a.tmpl.bak", false),
            ("*", "", true),
            ("a?c*", "abcd", true),
            ("a?c*", "ac", false),
            ("[a-c]1", "b1", true),
            ("[^a-c]1", "b1", false),
            ("*a*b", "xaab", true),
            ("*a*b", "xaac", false),
            ("\\*x", "*x", true),
            ("[", "[", false),
        ] {
            assert_eq!(is_match(pattern, name), is_so, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_beside_the_settings_and_by_their_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("templates/db");
        fs::create_dir_all(&inner).unwrap();
        for name in ["b.tmpl", "a.tmpl", "c.txt"] {
            fs::write(inner.join(name), "{{ define \"x\" }}1{{ end }}").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = find(folder.path(), pattern).unwrap();
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into()).collect()
        };
        assert_eq!(names("templates/*/*.tmpl"), ["a.tmpl", "b.tmpl"]);
        assert_eq!(names("./templates/db/c.txt"), ["c.txt"]);
        assert_eq!(names(&format!("{}/*", inner.display())).len(), 3);
        assert!(names("none/*.tmpl").is_empty() && names("templates/*").is_empty());
    }

    #[test]
    fn every_fault_of_every_file_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.tmpl"), "{{ define \"x\" }}\n{{ nope }}{{ end }}").unwrap();
        fs::write(folder.path().join("b.tmpl"), "{{ if }}").unwrap();
        let mut library = template::alertmanager::library();
        let patterns = ["*.tmpl".to_owned(), "gone/*.tmpl".to_owned()];
        let faults = add(&mut library, folder.path(), &patterns).expect_err("two are faulty");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("/a.tmpl:2:4: there is no function \"nope\""), "{faults:?}");
        let unused = add(&mut library, folder.path(), &patterns[1..]);
        assert_eq!(unused.unwrap(), ["gone/*.tmpl"]);
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\[\\]^\\\\-]{0,14}", name in "[ab]{0,14}") {
            let _ = is_match(&pattern, &name);
        }
    }
}
