//! The words of the web view: one catalogue file a language, keys the same in all.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A language the web view speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// English, the one to fall back to.
    English,
    /// Simplified Chinese.
    Chinese,
}

type Catalogue = HashMap<String, String>;

static ENGLISH: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../../text/en.toml")));
static CHINESE: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../../text/zh-CN.toml")));

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
        let primary = tag.split(['-', '_']).next().unwrap_or("");
        Self::ALL.into_iter().find(|language| primary.trim().eq_ignore_ascii_case(language.word()))
    }

    /// The best of an `Accept-Language` header.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for part in header.split(',').take(32) {
            let (tag, weight) = part.split_once(";q=").unwrap_or((part, "1"));
            let weight = weight.trim().parse().unwrap_or(0.0);
            let Some(language) = Self::parse(tag) else { continue };
            if weight > 0.0 && best.is_none_or(|(_, so_far)| weight > so_far) {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
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
    pub(crate) fn fill(self, key: &str, values: &[(&str, &str)]) -> String {
        let mut filled = String::new();
        let mut rest = self.text(key);
        // One pass, so that braces inside a value (which may come from a host) stay what they are.
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, tail)) = after.split_once('}') else { break };
            filled.push_str(
                values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value),
            );
            rest = tail;
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::pipeline::Reason;
    use crate::severity::Severity;

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}').map(|(name, _)| name))
            .collect()
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

    fn sources() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = ["templates", "src", "src/web"].map(|folder| root.join(folder));
        let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    #[test]
    fn every_key_that_templates_and_code_ask_for_exists() {
        let sources = sources();
        let asked: Vec<&str> = [concat!(".text", "(\""), concat!(".fill", "(\"")]
            .into_iter()
            .flat_map(|call| sources.split(call).skip(1))
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(asked.len() > 40, "only {} keys found: the search is broken", asked.len());
        for key in asked {
            assert!(ENGLISH.contains_key(key), "{key}");
        }
    }

    #[test]
    fn every_text_is_used() {
        let sources = sources();
        for key in ENGLISH.keys() {
            assert!(sources.contains(&format!("\"{key}\"")), "{key} is asked for nowhere");
        }
    }

    #[test]
    fn every_key_that_is_put_together_from_a_word_exists() {
        for severity in Severity::ALL {
            assert!(ENGLISH.contains_key(&format!("severity.{}", severity.as_str())));
        }
        for reason in Reason::ALL {
            assert!(ENGLISH.contains_key(&format!("reason.{}", reason.as_str())));
        }
    }

    #[test]
    fn the_browser_chooses_by_weight() {
        assert_eq!(Language::accepted("zh-CN,zh;q=0.9,en;q=0.8"), Some(Language::Chinese));
        assert_eq!(Language::accepted("fr, en-GB;q=0.5, zh;q=0.1"), Some(Language::English));
        assert_eq!(Language::accepted("fr"), None);
        assert_eq!(Language::accepted("zh;q=0"), None);
        assert_eq!(Language::accepted(";q=,,;;"), None);
    }

    #[test]
    fn a_value_with_braces_is_not_filled_again() {
        let text = Language::English.fill("alerts.runbook.of", &[("name", "{name} & {other}")]);
        assert_eq!(text, "Runbook of {name} & {other}");
    }
}
