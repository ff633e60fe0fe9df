//! The words of pages: one catalogue file a language, keys the same in all.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// A language that pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English, the one to fall back to.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The tag in `lang=` of a page.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// The word in `?lang=` and in the cookie.
    pub const fn word(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// How the language calls itself.
    pub const fn own_name(self) -> &'static str {
        match self {
            Self::English => "EN",
            Self::Chinese => "中文",
        }
    }

    /// The language that a tag such as `zh`, `zh-CN` or `en-GB` asks for.
    pub fn parse(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or("");
        Self::ALL.into_iter().find(|language| primary.trim().eq_ignore_ascii_case(language.word()))
    }

    /// The best of an `Accept-Language` header.
    pub fn accepted(header: &str) -> Option<Self> {
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
}

type Texts = HashMap<String, String>;

/// The texts of a role in every language, on top of those that all roles share.
#[derive(Debug)]
pub struct Catalogue {
    english: Texts,
    chinese: Texts,
}

static SHARED: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::read(include_str!("../../text/en.toml"), include_str!("../../text/zh-CN.toml"))
});

impl Catalogue {
    /// Of two TOML files with keys and texts, which are part of the binary: panics if one of them is none.
    pub fn read(english: &str, chinese: &str) -> Self {
        let texts = |text| {
            toml::from_str(text).expect("the catalogues are part of the binary and read by a test")
        };
        Self { english: texts(english), chinese: texts(chinese) }
    }

    /// Its words in one language.
    pub const fn words(&'static self, language: Language) -> Words {
        Words { language, catalogue: self }
    }

    /// Whether it has a key of its own.
    pub fn has(&self, key: &str) -> bool {
        self.english.contains_key(key)
    }

    fn texts(&self, language: Language) -> &Texts {
        match language {
            Language::English => &self.english,
            Language::Chinese => &self.chinese,
        }
    }

    /// For the test of a crate with pages: keys and placeholders that differ between the languages, keys that
    /// `sources` (its code and templates) ask for and that are not there, and texts that nobody asks for.
    /// `composed` are the beginnings of keys that are put together of words.
    pub fn faults(&self, sources: &str, composed: &[&str]) -> Vec<String> {
        let keys = |texts: &Texts| texts.keys().map(String::to_owned).collect::<BTreeSet<String>>();
        let (english, chinese) = (keys(&self.english), keys(&self.chinese));
        let lone = english.symmetric_difference(&chinese);
        let mut faults: Vec<String> =
            lone.map(|key| format!("{key} is in one language only")).collect();
        for key in english.intersection(&chinese) {
            let (ours, theirs) = (&self.english[key], &self.chinese[key]);
            if placeholders(ours) != placeholders(theirs) || ours.is_empty() || theirs.is_empty() {
                faults
                    .push(format!("{key} has other placeholders in another language, or no text"));
            }
            let is_composed = composed.iter().any(|beginning| key.starts_with(beginning));
            if !is_composed && !sources.contains(&format!("\"{key}\"")) {
                faults.push(format!("{key} is asked for nowhere"));
            }
        }
        let calls = [".text(\"", ".fill(\"", "sentence(\""];
        let asked = calls.iter().flat_map(|call| sources.split(call).skip(1));
        let asked = asked.filter_map(|rest| rest.split('"').next());
        let missing = asked.filter(|key| !self.has(key) && !SHARED.has(key));
        faults.extend(missing.map(|key| format!("{key} is asked for and has no text")));
        faults
    }
}

fn placeholders(text: &str) -> BTreeSet<&str> {
    let parts = text.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
}

/// The words of a catalogue in one language.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Which language.
    pub language: Language,
    catalogue: &'static Catalogue,
}

impl Words {
    /// The text under a key; empty when there is none, which a test of the catalogue rules out.
    pub fn text(self, key: &str) -> &'static str {
        let own = self.catalogue.texts(self.language).get(key);
        let found = own.or_else(|| SHARED.texts(self.language).get(key));
        debug_assert!(found.is_some(), "no text for the key {key}");
        found.map_or("", String::as_str)
    }

    /// The text under a key with its placeholders filled in.
    pub fn fill<Value: AsRef<str>>(self, key: &str, values: &[(&str, Value)]) -> String {
        let mut filled = String::new();
        let mut rest = self.text(key);
        // One pass, so that braces inside a value (which may come from a host) stay what they are.
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, tail)) = after.split_once('}') else { break };
            let value = values.iter().find(|(known, _)| *known == name);
            filled.push_str(value.map_or("", |(_, value)| value.as_ref()));
            rest = tail;
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The shared words alone.
    pub(crate) fn shared(language: Language) -> Words {
        SHARED.words(language)
    }

    #[test]
    fn the_shared_words_are_the_same_in_both_languages_and_all_used() {
        let sources = [
            include_str!("../../templates/frame.html"),
            include_str!("../../templates/message.html"),
            include_str!("reader.rs"),
            include_str!("time.rs"),
        ];
        assert_eq!(SHARED.faults(&sources.concat(), &[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_with_a_catalogue_is_told() {
        let english = "a = \"{n}\"\nlonely = \"x\"\nunused = \"x\"\n";
        let catalogue = Catalogue::read(english, "a = \"x\"\nunused = \"x\"\n");
        let sources = "text(\"a\") \"lonely\" page.text(\"missing\")";
        let faults = catalogue.faults(sources, &[]);
        let told =
            ["lonely is in one", "a has other", "unused is asked for now", "missing is asked"];
        assert_eq!(faults.len(), told.len(), "{faults:?}");
        for (fault, beginning) in faults.iter().zip(told) {
            assert!(fault.starts_with(beginning), "{fault}");
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
        let text = shared(Language::English).fill("time.ago", &[("span", "{span} & {other}")]);
        assert_eq!(text, "{span} & {other} ago");
    }
}
