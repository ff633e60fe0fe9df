//! The language: what Go's `text/template` does.

use std::sync::Arc;

use template::alertmanager::{DIALECT, library};
use template::{Library, Template};

use crate::{check, parse};

#[test]
fn actions_and_their_white_space() {
    check("a {{- 1 -}} b{{/* c */}}\n{{- /* d */ -}}\n e", "a1be");
    check(
        "{{ \"q\" }}{{ `r\\n` }}{{ 'x' }} {{ 0x10 }} {{ 1e3 }} {{ true }}",
        "qr\\n120 16 1000 true",
    );
    check("{{ printf \"%s-%d\" \"a\" 3 | printf \"%q\" }}", "\"a-3\"");
    check("{{ print nil }}{{ println }}", "<nil>\n");
}

#[test]
fn conditions() {
    for (condition, is_true) in [
        ("1", true),
        ("0", false),
        ("\"\"", false),
        ("\"x\"", true),
        ("nil", false),
        (".Alerts", true),
        ("(list)", false),
        (".", true),
        ("0.0", false),
        ("not 0", true),
        ("and 1 0", false),
        ("or 0 \"x\"", true),
        ("eq 1 2 1", true),
        ("ne \"a\" \"b\"", true),
        ("lt 1 2", true),
        ("ge 2.0 2.5", false),
        ("le \"a\" \"b\"", true),
    ] {
        // `nil` alone is no command.
        let condition = if condition == "nil" { "and nil true" } else { condition };
        check(
            &format!("{{{{ if {condition} }}}}y{{{{ else }}}}n{{{{ end }}}}"),
            if is_true { "y" } else { "n" },
        );
    }
    check("{{ if 0 }}a{{ else if 0 }}b{{ else if 1 }}c{{ else }}d{{ end }}", "c");
    check("{{ with .Receiver }}{{ . }}{{ end }}{{ with \"\" }}a{{ else }}b{{ end }}", "opsb");
    check("{{ if and false (index .Alerts 9) }}{{ end }}{{ or true (index .Alerts 9) }}", "true");
}

#[test]
fn loops() {
    check(
        "{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $a.Labels.host }}{{ end }}",
        "web-1, web-2",
    );
    check("{{ range .Alerts }}{{ $.Receiver }}{{ end }}", "opsops");
    check("{{ range (list) }}x{{ else }}none{{ end }}", "none");
    check(
        "{{ range $i := 5 }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ if eq $i 3 }}{{ break }}{{ end }}{{ $i }}{{ end }}",
        "02",
    );
    check("{{ $n := 0 }}{{ range .Alerts }}{{ $n = len .Labels }}{{ end }}{{ $n }}", "4");
    check(
        "{{ $i := 9 }}{{ $x := \"\" }}{{ range $i, $x = .Alerts.Firing }}{{ end }}{{ $i }}{{ $x.Status }}",
        "0firing",
    );
}

#[test]
fn variables_end_with_their_block() {
    check("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21");
    check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2");
    check("{{ with $y := .Receiver }}{{ $y }}{{ end }}", "ops");
    for text in [
        "{{ $no }}",
        "{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}",
        "{{ $no = 1 }}",
        "{{ $x := 1 }}{{ define \"d\" }}{{ $x }}{{ end }}",
    ] {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].message.contains("variable"), "{text}: {}", faults[0]);
    }
}

#[test]
fn definitions() {
    check(
        "{{ define \"d\" }}<{{ . }}>{{ end }}{{ template \"d\" .Receiver }}{{ template \"d\" }}",
        "<ops><<no value>>",
    );
    check("{{ block \"b\" .Receiver }}[{{ . }}]{{ end }}", "[ops]");
    check(
        "{{ define \"__subject\" }}mine{{ end }}{{ template \"slack.default.title\" . }}",
        "mine",
    );
    check(
        "{{ define \"r\" }}{{ if . }}{{ len . }}{{ template \"r\" (slice . 1) }}{{ end }}{{ end }}{{ template \"r\" \"abc\" }}",
        "321",
    );
}

#[test]
fn a_later_file_replaces_a_definition_of_an_earlier_one() {
    let mut files = library();
    files.add("a.tmpl", "{{ define \"x\" }}a{{ template \"y\" }}{{ end }}").unwrap();
    files
        .add(
            "b.tmpl",
            "text\n{{ define \"y\" }}b{{ end }}{{ define \"slack.default.title\" }}own{{ end }}",
        )
        .unwrap();
    assert!(files.missing().is_empty() && files.defines("x") && !files.defines("z"));
    let files = Arc::new(files);
    let text = Template::parse(
        &files,
        "t",
        "{{ template \"x\" }}{{ template \"slack.default.title\" . }}",
        "",
    )
    .unwrap();
    let rendered = text.render(
        &template::Value::Nil,
        &|_, _| Ok(template::Value::Nil),
        &template::alertmanager::LIMITS,
        None,
    );
    assert_eq!(rendered.as_deref(), Ok("abown"));
}

#[test]
fn faults_are_told_with_their_places() {
    for (text, expected) in [
        ("line\n  {{ .Status ", "text:2:"),
        ("{{ if true }}x", "text:1:"),
        (
            "\n{{ range .Alerts }}{{ toUper .Status }}{{ end }}",
            "text:2:23: there is no function \"toUper\"",
        ),
        ("é {{ template \"gone\" . }}", "text:1:6: there is no template \"gone\""),
        ("{{ define \"a\" }}1{{ end }}\n{{ define \"a\" }}2{{ end }}", "text:2:"),
        ("{{ end }}", "text:1:"),
        ("{{ break }}", "text:1:"),
    ] {
        let faults = parse(text).expect_err(text);
        assert!(faults[0].to_string().starts_with(expected), "{text}: {}", faults[0]);
    }
    let all = parse("{{ a }} {{ b }}\n{{ $c }}").expect_err("three names are unknown");
    assert_eq!(
        all.iter().map(|fault| (fault.line, fault.column)).collect::<Vec<_>>(),
        [(1, 4), (1, 12), (2, 4)]
    );
}

#[test]
fn a_definition_that_calls_one_that_is_not_there_is_told_of() {
    let mut files = Library::new(&DIALECT);
    files.add("a.tmpl", "{{ define \"x\" }}\n {{ template \"gone\" . }}{{ end }}").unwrap();
    assert_eq!(files.missing()[0].to_string(), "a.tmpl:2:5: there is no template \"gone\"");
    let faults = Template::parse(&Arc::new(files), "t", "{{ template \"x\" . }}", "")
        .expect_err("it calls it");
    assert_eq!(faults[0].to_string(), "a.tmpl:2:5: there is no template \"gone\"");
}
