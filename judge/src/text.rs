//! The words of pages and explanations: one catalogue file a language, keys the same in all.

use std::sync::LazyLock;

use daemon::page::{Catalogue, Language, Words};

/// The words of every language.
pub(crate) static WORDS: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::read(include_str!("../text/en.toml"), include_str!("../text/zh-CN.toml"))
});

/// The language of the API.
pub(crate) fn english() -> Words {
    WORDS.words(Language::English)
}

/// A text that is put in words when it is known for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) key: &'static str,
    pub(crate) values: Vec<(&'static str, String)>,
}

impl Sentence {
    /// The sentence in a language.
    pub(crate) fn told(&self, words: Words) -> String {
        words.fill(self.key, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sources() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders =
            ["templates", "src", "src/web", "src/explain"].map(|folder| root.join(folder));
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flat_map(Iterator::flatten);
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    #[test]
    fn the_languages_say_the_same_and_all_that_is_asked_for() {
        assert_eq!(WORDS.faults(&sources(), &["state."]), Vec::<String>::new());
    }

    #[test]
    fn a_value_with_braces_is_not_filled_again() {
        let sentence =
            Sentence { key: "explain.failed", values: vec![("error", "{x}".to_owned())] };
        assert!(sentence.told(english()).contains("{x}"));
    }
}
