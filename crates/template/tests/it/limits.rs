//! Whatever a template does, it ends within its limits.

use proptest::prelude::*;
use template::Limits;
use template::alertmanager::LIMITS;

use crate::{parse, render, render_within};

const SMALL: Limits = Limits {
    output_bytes_max: 1_000,
    work_bytes_max: 50_000,
    rounds_max: 100,
    steps_max: 900,
    calls_max: 50,
};

#[test]
fn each_limit_is_named_when_it_is_reached() {
    for (text, expected) in [
        ("{{ range $i := 90 }}0123456789012{{ end }}", "more than 1000 bytes"),
        ("{{ range $i := 101 }}{{ end }}", "more than 100 rounds"),
        (
            "{{ range $i := 99 }}{{ if 1 }}{{ if 1 }}{{ if 1 }}a{{ end }}{{ end }}{{ end }}{{ if $i }}{{ if $i }}{{ if $i }}{{ if $i }}b{{ end }}{{ end }}{{ end }}{{ end }}{{ if 0 }}{{ end }}{{ if 0 }}{{ end }}{{ if 0 }}{{ end }}{{ end }}",
            "more than 900 steps",
        ),
        (
            "{{ $x := \"x\" }}{{ range $i := 99 }}{{ $x = print $x $x }}{{ end }}",
            "work on more than 50000 bytes",
        ),
        (
            "{{ define \"a\" }}{{ end }}{{ range $i := 99 }}{{ template \"a\" }}{{ end }}",
            "more than 50 calls",
        ),
        (
            "{{ $x := list }}{{ range $i := 99 }}{{ $x = list $x }}{{ end }}",
            "nested more than 32 deep",
        ),
        ("{{ printf \"%99999d\" 1 }}", "printf"),
    ] {
        let fault = render_within(text, &SMALL).expect_err(text);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
    let fault = render("{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}")
        .expect_err("endless");
    assert!(fault.contains("nested more than 100 deep"), "{fault}");
}

#[test]
fn what_doubles_itself_ends_at_a_limit() {
    for text in [
        "{{ $x := list 1 }}{{ range $i := 100 }}{{ $x = list $x $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range $i := 30 }}{{ $x = list $x $x }}{{ end }}{{ print $x }}",
        "{{ $x := list 1 }}{{ range $i := 100 }}{{ $x = append $x $x }}{{ end }}{{ toJson $x }}",
        "{{ $x := \"ab\" }}{{ range $i := 100 }}{{ $x = reReplaceAll \"[ab]\" \"$0$0\" $x }}{{ end }}",
        "{{ $x := \"<\" }}{{ range $i := 100 }}{{ $x = html $x }}{{ $x = print $x $x }}{{ end }}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

/// Pieces of templates that are likely to fit together.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{ .Status }}",
        "{{ range $i := 3000 }}",
        "{{ range .Alerts }}",
        "{{ range $k, $v := .CommonLabels }}",
        "{{ end }}",
        "{{ else }}",
        "{{ if gt (len .Alerts) 1 }}",
        "{{ $x := \"x\" }}",
        "{{ $x = print $x $x }}",
        "{{ $x }}",
        "{{ with .Alerts.Firing }}",
        "{{ define \"a\" }}",
        "{{ template \"a\" . }}",
        "{{ break }}",
        "{{ continue }}",
        "{{ block \"b\" . }}",
        "{{ . }}",
        "{{ .StartsAt.Format \"2006\" }}",
        "{{ tz \"Asia/Tokyo\" .StartsAt }}",
        "{{ $x = reReplaceAll \"\" $x $x }}",
        "{{ slice $x 1 }}",
        "{{ printf \"%9999d %s\" 1 $x }}",
        " text ",
        "{{ $x = dict \"a\" $x }}",
        "{{ $x = list $x $x }}",
        "{{ toJson . }}",
        "{{ .CommonLabels.Remove .GroupLabels.Names }}",
        "{{ template \"__subject\" . }}",
        "{{ .Labels.SortedPairs.Names | join \" \" }}",
        "{{- /* c */ -}}",
        "{{ $x.a.b }}",
    ];
    (0..words.len()).prop_map(move |at| words[at].to_owned())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in ".{0,40}", action in "[a-zA-Z $.|()\"0-9:=]{0,40}") {
        for text in [source.as_str(), &format!("{{{{{action}}}}}"), &format!("{source}{{{{{action}}}}}")] {
            let _ = render_within(text, &SMALL);
        }
    }

    #[test]
    fn no_layout_makes_it_panic(layout in "[ -~]{0,24}", text in "[ -~]{0,24}") {
        let (layout, text) = (layout.replace(['"', '\\'], ""), text.replace(['"', '\\'], ""));
        let _ = render(&format!("{{{{ (toDate \"{layout}\" \"{text}\").Format \"{layout}\" }}}}"));
    }

    /// Whatever is put together: it ends, within its limits.
    #[test]
    fn nothing_runs_over_its_limits(pieces in proptest::collection::vec(piece(), 0..14)) {
        let open = pieces.iter().filter(|piece| ["range", "if", "with", "define", "block"]
            .iter().any(|word| piece.contains(&format!("{{{{ {word}")))).count();
        let ends = pieces.iter().filter(|piece| piece.contains("{{ end")).count();
        let text = pieces.concat() + &"{{ end }}".repeat(open.saturating_sub(ends));
        if parse(&text).is_ok() && let Ok(text) = render_within(&text, &SMALL) {
            prop_assert!(text.len() <= SMALL.output_bytes_max);
        }
        if let Ok(text) = render(&text) {
            prop_assert!(text.len() <= LIMITS.output_bytes_max);
        }
    }
}
