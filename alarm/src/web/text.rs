//! The words of alarm's pages: one catalogue file a language, keys the same in all.

use std::sync::LazyLock;

use daemon::page::Catalogue;

/// The words of every language.
pub(crate) static WORDS: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::read(include_str!("../../text/en.toml"), include_str!("../../text/zh-CN.toml"))
});

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::Reason;
    use crate::routing::ObjectKind;
    use crate::severity::Severity;

    fn sources() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = ["templates", "src", "src/web"].map(|folder| root.join(folder));
        let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    #[test]
    fn the_languages_say_the_same_and_all_that_is_asked_for() {
        assert_eq!(WORDS.faults(&sources(), &["routing.kind."]), Vec::<String>::new());
    }

    #[test]
    fn every_key_that_is_put_together_from_a_word_exists() {
        for severity in Severity::ALL {
            assert!(WORDS.has(&format!("severity.{}", severity.as_str())));
        }
        for reason in Reason::ALL {
            assert!(WORDS.has(&format!("reason.{}", reason.as_str())));
        }
        for kind in ObjectKind::ALL {
            assert!(WORDS.has(&format!("routing.kind.{}", kind.as_str())));
        }
    }
}
