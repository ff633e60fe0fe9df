//! Templates in labels and annotations: Go's `text/template` with Prometheus' variables and functions.
//!
//! A template is parsed when its rule is loaded and can be rendered any number of times. Rendering is pure: what
//! `query` asks is left in [`Lookups`](crate::template_scene::Lookups) and answered by [`expand`](crate::expand), which
//! then renders again.

use std::fmt;
use std::sync::{Arc, LazyLock};

use ::template::{Library, Limits, Record, Template as Program, Value};
use model::Labels;

use crate::template_functions::{self, DIALECT};
use crate::template_scene::Scene;
pub(crate) use crate::template_scene::Surroundings;

/// How the text begins that stands in the place of one that could not be made.
pub(crate) const FAILURE: &str = "<error expanding template: ";
/// What a rendering may use up; a template that goes beyond it fails.
const LIMITS: Limits = Limits {
    output_bytes_max: 64 * 1024,
    work_bytes_max: 1 << 20,
    rounds_max: 10_000,
    steps_max: 200_000,
    calls_max: 10_000,
};
/// Prometheus' variables, declared before every template.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                        {{$externalURL := .ExternalURL}}{{$value := .Value}}";

static LIBRARY: LazyLock<Arc<Library>> = LazyLock::new(|| Arc::new(Library::new(&DIALECT)));

/// A parsed template.
#[derive(Clone)]
pub(crate) struct Template {
    source: String,
    program: Option<Program>,
}

impl Template {
    /// Parses a template. The error says what is wrong, with line and column.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if !source.contains("{{") {
            return Ok(Self::verbatim(source));
        }
        let program = Program::parse(&LIBRARY, "template", source, PREAMBLE);
        let program = program.map_err(|faults| match faults.first() {
            Some(fault) => format!("template {}:{}: {}", fault.line, fault.column, fault.message),
            None => "template: it cannot be read".to_owned(),
        })?;
        Ok(Self { source: source.to_owned(), program: Some(program) })
    }

    /// A text that is no template, whatever is in it.
    pub(crate) fn verbatim(text: &str) -> Self {
        Self { source: text.to_owned(), program: None }
    }

    /// The text as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may ask the store by `query`.
    pub(crate) fn may_ask(&self) -> bool {
        self.program.is_some() && self.source.contains("query")
    }

    /// The text for an alert. The error is the text that stands in its place when the template fails, as in
    /// Prometheus: an alert with a faulty annotation is better than none.
    pub(crate) fn render(
        &self,
        labels: &Labels,
        value: f64,
        scene: &Scene<'_>,
    ) -> Result<String, String> {
        let Some(program) = &self.program else { return Ok(self.source.clone()) };
        let surroundings = scene.surroundings;
        let fields = vec![
            ("Labels", Value::Labels(Labels::clone(labels))),
            ("Value", Value::Float(value)),
            ("ExternalLabels", Value::Labels(Labels::clone(&surroundings.external_labels))),
            ("ExternalURL", Value::text(surroundings.external_url.as_str())),
        ];
        let data = Value::Record(Arc::new(Record { name: "template.Data", fields }));
        let own = |name: &str, args: &[Value]| template_functions::own(scene, name, args);
        let rendered = program.render(&data, &own, &LIMITS, None);
        rendered.map_err(|fault| format!("{FAILURE}{}>", fault.message))
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

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::template_scene::Lookups;

    fn render(source: &str, value: f64) -> String {
        let labels =
            Labels::from_pairs([("endpoint", "web-1:9100"), ("mount", "/data"), ("dev", "sda")]);
        let surroundings = Surroundings {
            external_labels: Labels::from_pairs([("dc", "east")]),
            external_url: "http://judge".to_owned(),
        };
        let (at, lookups) = (Timestamp(61_500), Lookups::default());
        let scene = Scene { surroundings: &surroundings, at, lookups };
        let template = Template::parse(source).expect("the template is valid");
        template.render(&labels, value, &scene).unwrap_or_else(|failure| failure)
    }

    fn check(source: &str, text: &str) {
        assert_eq!(render(source, 91.5), text, "{source}");
    }

    #[test]
    fn a_template_that_may_ask_the_store_is_known_before() {
        let may_ask = |text: &str| Template::parse(text).expect("it is a template").may_ask();
        assert!(may_ask("{{ with query \"up\" }}x{{ end }}"));
        assert!(!may_ask("{{ $value }}") && !may_ask("a query"));
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
            "\n\n{{ define \"d\" }}{{ range . }}{{ . | humanise }}{{ end }}{{ end }}",
        ] {
            let fault = Template::parse(source).expect_err("humanise is mistyped");
            assert!(fault.starts_with("template 3:"), "{fault}");
            assert!(fault.ends_with("there is no function \"humanise\""), "{fault}");
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

    #[test]
    fn what_doubles_itself_ends_at_a_limit() {
        for source in [
            "{{ $x := \"x\" }}{{ range $i := 100 }}{{ $x = print $x $x }}{{ end }}",
            "{{ $x := \"x\" }}{{ range $i := 100 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
            "{{ $x := \"<\" }}{{ range $i := 100 }}{{ $x = html $x }}{{ $x = print $x $x }}{{ end }}",
            "{{ $x := \"ab\" }}{{ range $i := 100 }}{{ $x = reReplaceAll \"[ab]\" \"$0$0\" $x }}{{ end }}",
            "{{ $x := args 1 }}{{ range $i := 100 }}{{ $x = args $x $x }}{{ end }}",
            "{{ define \"a\" }}{{ if lt (len .) 30 }}{{ template \"a\" (print . \"x\") }}\
             {{ template \"a\" (print . \"x\") }}{{ end }}{{ end }}{{ template \"a\" \"\" }}",
            "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}",
        ] {
            let text = render(source, 0.0);
            assert!(text.starts_with("<error expanding template: "), "{source}: {text}");
        }
    }

    #[test]
    fn times_and_durations_have_methods() {
        check("{{ (toTime 1427397845).Format \"2006-01-02 15:04\" }}", "2015-03-26 19:24");
        check("{{ $t := toTime 0 }}{{ $t.Year }} {{ $t }}", "1970 1970-01-01 00:00:00 +0000 UTC");
        check("{{ (5400 | toDuration).Hours }} {{ toDuration 90 }}", "1.5 1m30s");
        check("{{ with toTime 0 }}{{ .Format \"Jan 2\" }}{{ .Weekday }}{{ end }}", "Jan 1Thursday");
        check("{{ printf \"%s!\" (toTime 0).Month }}", "January!");
        check("[{{ $labels.Day }}]{{ (humanizeTimestamp 0 | len) }}", "[]29");
    }

    #[test]
    fn the_moment_and_the_place_are_known() {
        check("{{ now }} {{ (toTime now).Unix }}", "61.5 61");
        check("{{ externalURL }}{{ pathPrefix }}|", "http://judge|");
    }

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, text) in [
            (1e22, "1e+22"),
            (f64::INFINITY, "+Inf"),
            (1e-7, "1e-07"),
            (1e6, "1e+06"),
            (123456.0, "123456"),
        ] {
            assert_eq!(render("{{ $value }}", value), text);
            assert_eq!(render("{{ print $value }}", value), text);
            assert_eq!(render("{{ printf \"%v\" .Value }}", value), text);
        }
    }

    #[test]
    fn verbs_of_printf_are_those_of_go() {
        check(
            "{{ printf \"%6.2f|%-5s|%5d|%x|%q|%t|%e|%%\" $value \"a\" 42 255 \"b\" true 1234.5 }}",
            " 91.50|a    |   42|ff|\"b\"|true|1.234500e+03|%",
        );
        check("{{ printf \"%v %v\" 1 \"x\" }}{{ println 1 }}", "1 x1\n");
    }

    #[test]
    fn go_s_own_functions_and_blocks_are_there() {
        check("{{ and 1 0 }} {{ or 0 \"x\" }} {{ not true }} {{ len \"abc\" }}", "0 x false 3");
        check(
            "{{ if and (ge $value 90.0) (ne $labels.dev \"sdb\") (le 1 1) (lt 1 2) }}y{{ end }}",
            "y",
        );
        check("{{ slice \"abcdef\" 1 3 }} {{ index $labels \"dev\" }}", "bc sda");
        check("{{ html \"<a>\" }} {{ js \"'\" }} {{ urlquery \"a b\" }}", "&lt;a&gt; \\' a+b");
        check("{{ block \"b\" $labels.dev }}<{{ . }}>{{ end }}", "<sda>");
        check(
            "{{ range $i := 5 }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ if eq $i 3 }}{{ break }}{{ end }}{{ $i }}{{ end }}",
            "02",
        );
        check(
            "{{ range $k, $v := args 7 8 }}{{ $k }}={{ $v }} {{ else }}none{{ end }}",
            "arg0=7 arg1=8 ",
        );
        check("{{ if eq 1 2 }}a{{ else if eq 1 1 }}b{{ end }}{{/* nothing */}}", "b");
        check("{{ with \"\" }}a{{ else }}b{{ end }}{{ \"x\" | printf \"%s-%s\" \"y\" }}", "by-x");
    }

    #[test]
    fn what_a_query_gives_is_at_hand_in_the_second_round() {
        let source = "{{ with query \"up\" }}{{ . | first | value }}{{ end }}\
                      {{ range query \"up\" | sortByLabel \"endpoint\" }} {{ .Labels.endpoint }}{{ .Labels.no }}={{ .Value }}{{ end }}\
                      {{ query \"up\" | first | label \"endpoint\" }}{{ query \"up\" | first | strvalue }}";
        let template = Template::parse(source).expect("valid");
        let (surroundings, lookups) = (Surroundings::default(), Lookups::default());
        let scene = Scene { surroundings: &surroundings, at: Timestamp(0), lookups };
        let render = || template.render(&Labels::empty(), 1.0, &scene);
        assert!(render().is_err());
        assert_eq!(scene.lookups.take_open().into_iter().collect::<Vec<_>>(), ["up"]);
        let host = |name: &str| Labels::from_pairs([("__name__", "up"), ("endpoint", name)]);
        scene.lookups.answer("up".to_owned(), Ok(vec![(host("b"), 0.0), (host("a"), 1.0)]));
        assert_eq!(render(), Ok("0 a=1 b=0b".to_owned()));
        assert!(scene.lookups.take_open().is_empty());
    }

    #[test]
    fn a_query_that_fails_or_gives_too_much_fails_the_template() {
        let template = Template::parse("{{ query \"up\" | first | value }}").expect("valid");
        let surroundings = Surroundings::default();
        let host = |at: usize| (Labels::from_pairs([("n", at.to_string())]), 1.0);
        for (answer, text) in [
            (Err("the store is away".to_owned()), "the store is away"),
            (Ok(vec![]), "without elements"),
            (Ok((0..1001).map(host).collect()), "1000 are the most"),
        ] {
            let scene = Scene {
                surroundings: &surroundings,
                at: Timestamp(0),
                lookups: Lookups::default(),
            };
            scene.lookups.answer("up".to_owned(), answer);
            let failure = template.render(&Labels::empty(), 1.0, &scene).expect_err(text);
            assert!(
                failure.starts_with("<error expanding template: ") && failure.contains(text),
                "{failure}"
            );
        }
    }

    /// Pieces of templates that are likely to fit together.
    fn piece() -> impl Strategy<Value = String> {
        let words = [
            "{{ $value }}",
            "{{ range $i := 3000 }}",
            "{{ range $labels }}",
            "{{ end }}",
            "{{ else }}",
            "{{ if gt $value 1.0 }}",
            "{{ $x := \"x\" }}",
            "{{ $x = print $x $x }}",
            "{{ $x }}",
            "{{ with query \"up\" }}",
            "{{ define \"a\" }}",
            "{{ template \"a\" . }}",
            "{{ break }}",
            "{{ continue }}",
            "{{ block \"b\" . }}",
            "{{ . }}",
            "{{ toTime $value }}",
            "{{ .Year }}",
            "{{ (toTime now).Format \"2006\" }}",
            "{{ humanize $value }}",
            "{{ args . . }}",
            "{{ $x = reReplaceAll \"\" $x $x }}",
            "{{ index $labels \"a\" 1 }}",
            "{{ slice $x 1 }}",
            "{{ printf \"%999999d %s\" 1 $x }}",
            "{{ len . | printf \"%*d\" 99999 }}",
            " text ",
            "{{ call query }}",
            "{{ $x = args $x }}",
            "{{ $labels.endpoint | title | toUpper }}",
        ];
        (0..words.len()).prop_map(move |at| words[at].to_owned())
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(source in ".{0,40}", action in "[a-z $.|()\"0-9]{0,30}") {
            let action = format!("{{{{{action}}}}}");
            for text in [source.as_str(), &action, &format!("{source}{action}")] {
                if Template::parse(text).is_ok() {
                    render(text, 1.0);
                }
            }
        }

        /// Whatever is put together: it ends, within its limits.
        #[test]
        fn nothing_runs_over_its_limits(pieces in proptest::collection::vec(piece(), 0..14)) {
            let open = pieces.iter().filter(|piece| ["range", "if", "with", "define", "block"]
                .iter().any(|word| piece.contains(&format!("{{{{ {word}")))).count();
            let ends = pieces.iter().filter(|piece| piece.contains("{{ end")).count();
            let text = pieces.concat() + &"{{ end }}".repeat(open.saturating_sub(ends));
            if Template::parse(&text).is_ok() {
                prop_assert!(render(&text, 2.0).len() <= LIMITS.output_bytes_max);
            }
        }
    }
}
