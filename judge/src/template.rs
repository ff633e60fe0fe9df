//! Templates in labels and annotations: Go's `text/template` with Prometheus' variables and functions.
//!
//! The crate behind it is hidden here. A template is parsed when its rule is loaded and can be rendered any
//! number of times. `query` and the functions on its result, and `toTime`/`toDuration`, are not offered yet:
//! a rule that uses them is refused when it is loaded, not when it fires.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use gotmpl::Value;
use model::Labels;
use regex::Regex;

use crate::{template_check, template_functions};

/// What a rendered text may have; a template that writes more fails.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Rounds of all loops of one rendering.
const LOOP_ROUNDS_MAX: u64 = 10_000;
/// Prometheus' variables, declared before every template, on its first line so that the lines of errors stay
/// right.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                        {{$externalURL := .ExternalURL}}{{$value := .Value}}";

static LABEL_NAMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"[Ll]abels(?:\.|\s+")([A-Za-z_][A-Za-z0-9_]*)"#).expect("the pattern is tested")
});

/// A parsed template.
#[derive(Clone)]
pub(crate) struct Template {
    source: String,
    program: Option<Arc<Program>>,
}

struct Program {
    parsed: gotmpl::Template,
    // A label that is absent renders as nothing in Prometheus, but as "<no value>" in the crate, so every
    // label a template names is filled in.
    mentioned: Vec<Arc<str>>,
}

/// What templates can refer to besides the alert.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// `$externalLabels`.
    pub(crate) external_labels: Labels,
    /// `$externalURL`.
    pub(crate) external_url: String,
}

impl Template {
    /// Parses a template. The error says what is wrong, with line and column where known.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if !source.contains("{{") {
            return Ok(Self::verbatim(source));
        }
        let functions = template_functions::all();
        let whole = format!("{PREAMBLE}{source}");
        let unknown = template_check::unknown_function(&whole, &functions);
        if let Some((name, line)) = unknown.map_err(|error| parse_fault(&error))? {
            return Err(format!("template line {line}: there is no function {name:?}"));
        }
        let parsed = gotmpl::Template::new("")
            .funcs(functions)
            .max_range_iters(LOOP_ROUNDS_MAX)
            .missing_key(gotmpl::MissingKey::ZeroValue)
            .parse(&whole)
            .map_err(|error| parse_fault(&error))?;
        let mentioned =
            LABEL_NAMES.captures_iter(source).map(|found| Arc::from(&found[1])).collect();
        Ok(Self {
            source: source.to_owned(),
            program: Some(Arc::new(Program { parsed, mentioned })),
        })
    }

    /// A text that is no template, whatever is in it.
    pub(crate) fn verbatim(text: &str) -> Self {
        Self { source: text.to_owned(), program: None }
    }

    /// The text as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The text for an alert. A template that fails becomes a text that says so, as in Prometheus: an alert
    /// with a faulty annotation is better than none.
    pub(crate) fn render(
        &self,
        labels: &Labels,
        value: f64,
        surroundings: &Surroundings,
    ) -> String {
        let Some(program) = &self.program else { return self.source.clone() };
        let labels = label_map(labels, &program.mentioned);
        let external = label_map(&surroundings.external_labels, &program.mentioned);
        let data = BTreeMap::from([
            (Arc::from("Labels"), labels),
            (Arc::from("Value"), Value::Float(value)),
            (Arc::from("ExternalLabels"), external),
            (
                Arc::from("ExternalURL"),
                Value::String(Arc::from(surroundings.external_url.as_str())),
            ),
        ]);
        let mut output = Bounded(String::new());
        match program.parsed.execute_fmt(&mut output, &Value::Map(Arc::new(data))) {
            Ok(()) => output.0,
            Err(_) if output.0.len() >= OUTPUT_BYTES_MAX => {
                format!("<error expanding template: more than {OUTPUT_BYTES_MAX} bytes>")
            }
            Err(error) => format!("<error expanding template: {error}>"),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = OUTPUT_BYTES_MAX - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room {
            self.0.push_str(&" ".repeat(OUTPUT_BYTES_MAX - self.0.len()));
            return Err(fmt::Error);
        }
        Ok(())
    }
}

fn label_map(labels: &Labels, mentioned: &[Arc<str>]) -> Value {
    let empty = Value::String(Arc::from(""));
    let mut map: BTreeMap<Arc<str>, Value> =
        mentioned.iter().map(|name| (name.clone(), empty.clone())).collect();
    map.extend(
        labels.iter().map(|(name, value)| (Arc::from(name), Value::String(Arc::from(value)))),
    );
    Value::Map(Arc::new(map))
}

fn parse_fault(error: &gotmpl::TemplateError) -> String {
    match error {
        gotmpl::TemplateError::Parse { line, col, message, .. }
        | gotmpl::TemplateError::Lex { line, col, message, .. } => {
            let col = if *line == 1 { col.saturating_sub(PREAMBLE.len()).max(1) } else { *col };
            format!("template {line}:{col}: {message}")
        }
        other => format!("template: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(source: &str, value: f64) -> String {
        let labels =
            Labels::from_pairs([("endpoint", "web-1:9100"), ("mount", "/data"), ("dev", "sda")]);
        let surroundings = Surroundings {
            external_labels: Labels::from_pairs([("dc", "east")]),
            external_url: "http://judge".to_owned(),
        };
        Template::parse(source).expect("the template is valid").render(
            &labels,
            value,
            &surroundings,
        )
    }

    fn check(source: &str, text: &str) {
        assert_eq!(render(source, 91.5), text, "{source}");
    }

    #[test]
    fn labels_and_the_value_are_at_hand() {
        check(
            "{{ $labels.endpoint }}: {{ $value }} % of {{ .Labels.mount }}",
            "web-1:9100: 91.5 % of /data",
        );
        check("{{ $externalLabels.dc }} {{ $externalURL }} {{ .Value }}", "east http://judge 91.5");
        check("no braces, no work", "no braces, no work");
    }

    #[test]
    fn an_absent_label_is_nothing() {
        check("[{{ $labels.absent }}]", "[]");
        check("{{ if eq $labels.absent \"\" }}none{{ end }}", "none");
        check("[{{ index $labels \"absent\" }}]", "[]");
    }

    #[test]
    fn loops_conditions_and_definitions_work_as_in_go() {
        check(
            "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
            "dev=sda;endpoint=web-1:9100;mount=/data;",
        );
        check("{{ if gt $value 90.0 }}high{{ else }}fine{{ end }}", "high");
        check("{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" $labels.dev }}", "<sda>");
        check("{{ with $labels.mount }}{{ . }}{{ end -}}   ", "/data");
        check("{{ printf \"%.2f\" $value }}", "91.50");
    }

    #[test]
    fn a_value_is_written_as_go_writes_it() {
        for (value, text) in [(3.0, "3"), (0.1, "0.1"), (f64::NAN, "NaN")] {
            assert_eq!(render("{{ $value }}", value), text);
        }
    }

    #[test]
    fn a_template_that_does_not_parse_says_where() {
        let fault = Template::parse("disk {{ $labels.mount").expect_err("the action is not closed");
        assert!(fault.starts_with("template 1:"), "{fault}");
        assert!(Template::parse("{{ if }}").is_err());
    }

    #[test]
    fn an_unknown_function_is_found_when_the_template_is_loaded() {
        for source in [
            "{{ if $labels.x }}\n{{ else }}\n{{ humanise $value }}{{ end }}",
            "\n\n{{ with (humanise $value).x }}{{ end }}",
            "\n\n{{ define \"d\" }}{{ range $labels }}{{ . | humanise }}{{ end }}{{ end }}",
        ] {
            let fault = Template::parse(source).expect_err("humanise is mistyped");
            assert_eq!(fault, "template line 3: there is no function \"humanise\"", "{source}");
        }
    }

    #[test]
    fn a_template_that_fails_says_so_in_the_text() {
        let text = render("{{ humanize $labels.mount }}", 0.0);
        assert!(text.starts_with("<error expanding template: "), "{text}");
    }

    #[test]
    fn output_and_loops_are_bounded() {
        let text = render("{{ range $i := 9000 }}0123456789{{ end }}", 0.0);
        assert_eq!(text, "<error expanding template: more than 65536 bytes>");
        let text = render("{{ range $i := 100000 }}{{ end }}", 0.0);
        assert!(text.contains("range iteration"), "{text}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(source in ".{0,40}", action in "[a-z $.|()\"0-9]{0,30}") {
            let action = format!("{{{{{action}}}}}");
            for text in [source.as_str(), &action, &format!("{source}{action}")] {
                if let Ok(template) = Template::parse(text) {
                    template.render(&Labels::empty(), 1.0, &Surroundings::default());
                }
            }
        }
    }
}
