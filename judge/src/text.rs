//! The words of pages and explanations: one catalogue file a language, keys the same in all.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// English, the one to fall back to and that of the API.
    English,
    /// Simplified Chinese.
    Chinese,
}

type Catalogue = HashMap<String, String>;

static ENGLISH: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../text/en.toml")));
static CHINESE: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../text/zh-CN.toml")));

fn read(text: &str) -> Catalogue {
    toml::from_str(text).expect("the catalogues are part of the binary and read by a test")
}

impl Language {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The tag in `lang=` of the page.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// The word in `?lang=` and in the cookie.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// How the language calls itself.
    pub(crate) const fn own_name(self) -> &'static str {
        match self {
            Self::English => "EN",
            Self::Chinese => "中文",
        }
    }

    /// The language that a tag such as `zh`, `zh-CN` or `en-GB` asks for.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_', ';']).next().unwrap_or("");
        Self::ALL.into_iter().find(|language| primary.trim().eq_ignore_ascii_case(language.word()))
    }

    /// The text under a key.
    pub(crate) fn text(self, key: &str) -> &'static str {
        let own = match self {
            Self::English => &*ENGLISH,
            Self::Chinese => &*CHINESE,
        };
        let found = own.get(key);
        debug_assert!(found.is_some(), "no text for the key {key}");
        found.map_or("", String::as_str)
    }

    /// The text under a key with its placeholders filled in.
    pub(crate) fn fill(self, key: &str, values: &[(&str, String)]) -> String {
        let mut filled = String::new();
        let mut rest = self.text(key);
        // One pass, so that braces inside a value (which may come from a host) stay what they are.
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, tail)) = after.split_once('}') else { break };
            let value = values.iter().find(|(known, _)| *known == name);
            filled.push_str(value.map_or("", |(_, value)| value));
            rest = tail;
        }
        filled.push_str(rest);
        filled
    }
}

/// A text that is put in words when it is known for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) key: &'static str,
    pub(crate) values: Vec<(&'static str, String)>,
}

impl Sentence {
    /// The sentence in a language.
    pub(crate) fn told(&self, language: Language) -> String {
        language.fill(self.key, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn placeholders(text: &str) -> BTreeSet<&str> {
        let parts = text.split('{').skip(1);
        parts.filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
    }

    fn sources() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders =
            ["templates", "src", "src/web", "src/explain"].map(|folder| root.join(folder));
        let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flat_map(Iterator::flatten);
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    #[test]
    fn both_languages_have_the_same_keys_and_placeholders() {
        let keys = |catalogue: &'static Catalogue| catalogue.keys().collect::<BTreeSet<_>>();
        assert_eq!(keys(&ENGLISH), keys(&CHINESE));
        for (key, text) in &*ENGLISH {
            assert_eq!(placeholders(text), placeholders(&CHINESE[key]), "{key}");
            assert!(!text.is_empty() && !CHINESE[key].is_empty(), "{key}");
        }
    }

    #[test]
    fn every_key_that_is_asked_for_exists_and_every_text_is_used() {
        let sources = sources();
        let calls = [concat!(".text", "(\""), concat!(".fill", "(\""), concat!("sentence", "(\"")];
        let asked: Vec<&str> = calls
            .into_iter()
            .flat_map(|call| sources.split(call).skip(1))
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(asked.len() > 40, "only {} keys found: the search is broken", asked.len());
        for key in asked {
            assert!(ENGLISH.contains_key(key), "{key}");
        }
        for key in ENGLISH.keys() {
            let is_used = sources.contains(&format!("\"{key}\"")) || key.starts_with("state.");
            assert!(is_used, "{key} is asked for nowhere");
        }
    }

    #[test]
    fn a_value_with_braces_is_not_filled_again() {
        let sentence =
            Sentence { key: "explain.failed", values: vec![("error", "{x}".to_owned())] };
        assert!(sentence.told(Language::English).contains("{x}"));
        assert_eq!(Language::parse("zh-CN;q=0.9"), Some(Language::Chinese));
        assert_eq!(Language::parse("fr"), None);
    }
}
