//! Which files of a plugin folder are run, how often and with what arguments: Open-Falcon's conventions. Pure.
//!
//! A script is a plugin if its name begins with the seconds between two runs and an underscore, as in
//! `60_ntp.py`. A binding names a folder, and means all plugins in it but not those of folders below, or a
//! single script, which may have arguments and then goes before the binding of its folder.

use std::collections::BTreeMap;

const ARGS_MAX: usize = 64;
const INTERVAL_SECONDS_MAX: u32 = 86_400;

/// What the operator wants to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// All plugins in a folder, by its path below the plugin folder; empty for that folder itself.
    Folder(String),
    /// One script, by its path below the plugin folder.
    Script {
        /// The path.
        path: String,
        /// Its arguments.
        args: Vec<String>,
    },
}

impl Binding {
    /// Reads `sys/ntp`, `sys/ntp/60_ntp.py` or `sys/ntp/60_ntp.py(a, "b c", x\,y)`.
    ///
    /// # Errors
    /// When the path leaves the plugin folder or the parentheses are not closed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (path, args) = match text.split_once('(') {
            Some((path, rest)) => {
                let inside = rest.strip_suffix(')').ok_or("the parenthesis is not closed")?;
                (path.trim_end(), Some(split_args(inside)))
            }
            None => (text, None),
        };
        let path = path.trim_end_matches('/');
        if !is_inside(path) && path != "." {
            return Err("is not a path below the plugin folder");
        }
        let file = path.rsplit('/').next().unwrap_or(path);
        match (interval_seconds(file), args) {
            (_, Some(args)) if args.len() > ARGS_MAX => Err("has more than 64 arguments"),
            (Some(_), args) => {
                Ok(Self::Script { path: path.to_owned(), args: args.unwrap_or_default() })
            }
            (None, Some(_)) => {
                Err("is no script: its name does not begin with seconds, as 60_x.py")
            }
            (None, None) if path == "." => Ok(Self::Folder(String::new())),
            (None, None) => Ok(Self::Folder(path.to_owned())),
        }
    }
}

/// Whether a path stays below the folder it is relative to.
pub fn is_inside(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= 255 && !path.chars().any(char::is_control) && path.split('/').all(is_plain)
}

/// Seconds between two runs of the script with this file name; `None` when it is no plugin.
pub fn interval_seconds(file: &str) -> Option<u32> {
    let (seconds, rest) = file.split_once('_')?;
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = seconds.parse().ok().filter(|_| is_number && !rest.is_empty())?;
    (1..=INTERVAL_SECONDS_MAX).contains(&seconds).then_some(seconds)
}

// Commas part, `\,` is a comma, quotes around an argument are taken away.
fn split_args(text: &str) -> Vec<String> {
    let mut args = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let last = args.len() - 1;
        match c {
            '\\' if chars.next_if_eq(&',').is_some() => args[last].push(','),
            ',' => args.push(String::new()),
            other => args[last].push(other),
        }
    }
    if args.len() == 1 && args[0].trim().is_empty() {
        return Vec::new();
    }
    args.iter().map(|arg| unquote(arg.trim()).to_owned()).collect()
}

fn unquote(arg: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = arg.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside;
        }
    }
    arg
}

/// What the bindings mean: arguments by the path of each script. `files` lists the executable plugins in a
/// folder by name.
pub fn resolve(
    bindings: &[Binding],
    files: impl Fn(&str) -> Vec<String>,
) -> BTreeMap<String, Vec<String>> {
    let mut scripts = BTreeMap::new();
    for binding in bindings {
        let Binding::Folder(folder) = binding else { continue };
        for file in files(folder).into_iter().filter(|file| interval_seconds(file).is_some()) {
            let path = if folder.is_empty() { file } else { format!("{folder}/{file}") };
            scripts.insert(path, Vec::new());
        }
    }
    for binding in bindings {
        let Binding::Script { path, args } = binding else { continue };
        scripts.insert(path.clone(), args.clone());
    }
    scripts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(path: &str, args: &[&str]) -> Result<Binding, &'static str> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(Binding::Script { path: path.to_owned(), args })
    }

    #[test]
    fn folders_and_scripts_with_arguments_are_told_apart() {
        assert_eq!(Binding::parse("sys/ntp/"), Ok(Binding::Folder("sys/ntp".to_owned())));
        assert_eq!(Binding::parse("."), Ok(Binding::Folder(String::new())));
        assert_eq!(Binding::parse("60_ntp.py"), script("60_ntp.py", &[]));
        assert_eq!(
            Binding::parse(r#"sys/60_y.py(a, "b c", x\,y,'')"#),
            script("sys/60_y.py", &["a", "b c", "x,y", ""])
        );
        assert_eq!(Binding::parse("sys/60_y.py()"), script("sys/60_y.py", &[]));
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in ["../x", "/etc", "a/../../b", "a//b", "./a", "", "a\nb"] {
            assert!(Binding::parse(path).is_err(), "{path:?}");
        }
        assert_eq!(Binding::parse("60_a(x"), Err("the parenthesis is not closed"));
        assert!(Binding::parse("sys/ntp(a)").unwrap_err().starts_with("is no script"));
    }

    #[test]
    fn the_name_says_how_often() {
        assert_eq!(interval_seconds("60_ntp.py"), Some(60));
        assert_eq!(interval_seconds("300_a_b"), Some(300));
        for other in ["ntp.py", "_x", "0_x", "60", "60_", "-5_x", "+5_x", "86401_x", "6x_y"] {
            assert_eq!(interval_seconds(other), None, "{other}");
        }
    }

    #[test]
    fn a_script_bound_alone_wins_over_its_folder() {
        let bindings = [
            Binding::parse("sys/60_a.sh(1)").unwrap(),
            Binding::parse("sys").unwrap(),
            Binding::parse("none").unwrap(),
        ];
        let files = |folder: &str| {
            let files: &[&str] = if folder == "sys" { &["60_a.sh", "30_b", "lib.sh"] } else { &[] };
            files.iter().map(|file| (*file).to_owned()).collect()
        };
        let scripts = resolve(&bindings, files);
        assert_eq!(
            scripts.into_iter().collect::<Vec<_>>(),
            [("sys/30_b".to_owned(), vec![]), ("sys/60_a.sh".to_owned(), vec!["1".to_owned()]),]
        );
    }

    proptest! {
        #[test]
        fn no_binding_leaves_the_folder_or_makes_it_panic(text in ".{0,40}", like in "[a./_0-9(),\\\\\"]{0,20}") {
            for text in [text, like] {
                let path = match Binding::parse(&text) {
                    Ok(Binding::Folder(path) | Binding::Script { path, .. }) => path,
                    Err(_) => continue,
                };
                prop_assert!(path.is_empty() || is_inside(&path), "{}", path);
            }
        }
    }
}
