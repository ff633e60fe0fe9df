//! Alertmanager's functions.

use crate::{check, render};

#[test]
fn texts_are_changed() {
    check(
        "{{ toUpper \"ä\" }}{{ \"B\" | toLower }} {{ title \"disk full\" }} [{{ trimSpace \" x \" }}]",
        "Äb Disk Full [x]",
    );
    check(
        "{{ match \"^web-\\\\d+$\" \"web-1\" }} {{ reReplaceAll \"(\\\\w+)-(\\\\d)\" \"$2:$1\" \"web-1\" }}",
        "true 1:web",
    );
    check("{{ stringSlice \"a\" \"b\" | join \"+\" }} {{ list 1 \"b\" | len }}", "a+b 2");
    check(
        "{{ base64encode \"hi?\" }} {{ \"aGk/\" | base64decode }} {{ base64decode \"aGk_\" }}",
        "aGk/ hi? hi?",
    );
    check("{{ urlUnescape \"a%20b+c%2Fd\" }} {{ urlquery \"a b/\" }}", "a b c/d a+b%2F");
    check("{{ humanizeDuration 3661.0 }} {{ humanize 1234567.0 }}", "1h 1m 1s 1.235M");
}

#[test]
fn values_are_put_together_and_written_as_json() {
    check(
        "{{ $d := dict \"a\" 1 \"b\" (list \"x\" true nil) }}{{ $d.a }} {{ toJson $d }}",
        "1 {\"a\":1,\"b\":[\"x\",true,null]}",
    );
    check("{{ $d := dict \"a\" 1 }}[{{ $d.none }}]", "[<no value>]");
    check("{{ append (list 1) 2 3 }}", "[1 2 3]");
    check(
        "{{ toJson .GroupLabels }} {{ .GroupLabels.SortedPairs | toJson }}",
        "{\"alertname\":\"DiskFull\",\"team\":\"db\"} [{\"Name\":\"alertname\",\"Value\":\"DiskFull\"},{\"Name\":\"team\",\"Value\":\"db\"}]",
    );
    let json = render("{{ index .Alerts 0 | toJson }}").unwrap();
    assert!(json.contains("\"startsAt\":\"2023-11-14T22:11:50Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\""), "{json}");
    assert!(json.contains("web-1 \\u003cis\\u003e full"), "{json}");
}

#[test]
fn dates_are_read() {
    check("{{ (toDate \"2006-01-02 15:04\" \"2026-02-03 04:05\").Unix }}", "1770091500");
    check(
        "{{ mustToDate \"Jan 2, 2006 3:04PM -0700\" \"Feb 3, 2026 4:05PM +0800\" }}",
        "2026-02-03 08:05:00 +0000 UTC",
    );
    check("{{ (toDate \"2006\" \"nonsense\").IsZero }}", "true");
    assert!(render("{{ mustToDate \"2006\" \"nonsense\" }}").is_err());
}

#[test]
fn a_function_that_is_given_the_wrong_thing_says_so() {
    for (text, expected) in [
        ("{{ toUpper 1 }}", "a text expected, got a int"),
        ("{{ join \",\" (list 1) }}", "a list of texts expected"),
        ("{{ since 1 }}", "takes a time"),
        ("{{ dict \"a\" }}", "names and values in turn"),
        ("{{ index .Alerts 9 }}", "index out of range: 9"),
        ("{{ eq 1 \"x\" }}", "incompatible types for comparison"),
        ("{{ match \"(\" \"x\" }}", "match: "),
        ("{{ base64decode \"%\" }}", "not base64"),
        ("{{ call .Alerts }}", "no value here is a function"),
        ("{{ .Status.Foo }}", "can't evaluate field Foo in type string"),
        ("{{ .Status 1 }}", "cannot be invoked as a function"),
    ] {
        let fault = render(text).expect_err(text);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}
