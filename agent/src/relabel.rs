//! Relabelling in the agent: the rules of `model` with an engine of regular expressions that is a tenth of the
//! size. It has no Unicode classes, as in `\p{Greek}`; `\w`, `\d` and `\s` are ASCII, as they are in Prometheus.

use model::Pattern;
use regex_lite::{Regex, RegexBuilder};

/// An expression compiled beyond this is refused, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A small regular expression.
#[derive(Debug)]
pub struct Lite(Regex);

impl Pattern for Lite {
    fn compile(expression: &str) -> Result<Self, String> {
        let whole = format!(r"\A(?s:{expression})\z");
        let built = RegexBuilder::new(&whole).size_limit(COMPILED_BYTES_MAX).build();
        built.map(Self).map_err(|error| error.to_string())
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    fn expand(&self, text: &str, templates: [&str; 2]) -> Option<[String; 2]> {
        let groups = self.0.captures(text)?;
        Some(templates.map(|template| {
            let mut expanded = String::new();
            groups.expand(template, &mut expanded);
            expanded
        }))
    }
}

#[cfg(test)]
mod tests {
    use model::{Action, Labels, Relabel, RelabelRule};
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Vec<RelabelRule> {
        vec![
            RelabelRule {
                source_labels: vec!["a".into(), "b".into()],
                regex: "(.*);x(?P<tail>[0-9]+)?".into(),
                target_label: "c_$1".into(),
                replacement: "${tail}$1".into(),
                ..RelabelRule::default()
            },
            RelabelRule {
                action: Action::LabelMap,
                regex: "b(.?)".into(),
                replacement: "m_$1".into(),
                ..RelabelRule::default()
            },
            RelabelRule {
                action: Action::Drop,
                source_labels: vec!["b".into()],
                regex: "(?i)y.*".into(),
                ..RelabelRule::default()
            },
        ]
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_told() {
        assert!(Lite::compile("(").is_err());
        assert!(Lite::compile(&"(a{1000}){1000}".repeat(9)).is_err());
    }

    proptest! {
        #[test]
        fn both_engines_relabel_alike(a in "[a-z主\n]{0,3}", b in "[xyY][0-9]{0,3}") {
            let labels = Labels::from_pairs([("a", a.as_str()), ("b", &b)]);
            let small = Relabel::<Lite>::new(&rules()).unwrap().apply(&labels);
            let large = Relabel::<regex::Regex>::new(&rules()).unwrap().apply(&labels);
            prop_assert_eq!(small, large);
        }
    }
}
