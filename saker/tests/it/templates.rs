//! Debian's amtool and `saker ctl` make the same text of the same template.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{binary, program};

/// Alertmanager's own definitions, which amtool does not know without being told.
const DEFAULTS: &str = "/usr/share/prometheus/alertmanager/default.tmpl";

/// Alerts in the form that amtool reads.
const DATA: &str = r#"{
  "receiver": "ops", "status": "firing", "externalURL": "http://alarm.example",
  "groupLabels": {"alertname": "DiskFull"},
  "commonLabels": {"alertname": "DiskFull", "team": "db", "Zone": "a"},
  "commonAnnotations": {"runbook": "http://runbook.example/?a=1&b=2"},
  "alerts": [
    {"status": "firing", "labels": {"alertname": "DiskFull", "team": "db", "Zone": "a", "host": "web-1"},
     "annotations": {"summary": "<b>97.5 %</b> 满了", "runbook": "http://runbook.example/?a=1&b=2"},
     "startsAt": "2026-02-03T04:05:06.789Z", "endsAt": "0001-01-01T00:00:00Z",
     "generatorURL": "http://judge.example/g", "fingerprint": "0011223344556677"},
    {"status": "resolved", "labels": {"alertname": "DiskFull", "team": "db", "Zone": "a", "host": "web-2"},
     "annotations": {}, "startsAt": "2026-02-03T04:00:00Z", "endsAt": "2026-02-03T05:30:00Z",
     "generatorURL": "", "fingerprint": "8899aabbccddeeff"}
  ]
}"#;

const DEFINITIONS: &str = r#"{{ define "own.line" }}{{ .Labels.host }}={{ .Status }}{{ end }}
{{ define "own.list" -}}
  {{- range $i, $alert := .Alerts -}}
    {{- if $i }}, {{ end -}}
    {{ template "own.line" $alert }}
  {{- else }}none{{ end -}}
{{- end }}
{{ define "own.rec" }}{{ if . }}({{ len . }}{{ template "own.rec" (slice . 1) }}){{ end }}{{ end }}
"#;

const TEXTS: [&str; 44] = [
    "{{ .Receiver }} {{ .Status | toUpper }} {{ .ExternalURL }}",
    "{{ template \"own.list\" . }}",
    "{{ template \"own.rec\" \"abcd\" }}",
    "{{ template \"__subject\" . }}",
    "{{ template \"__text_alert_list\" .Alerts }}",
    "{{ template \"slack.default.title\" . }}|{{ template \"slack.default.text\" . }}|",
    "{{ template \"pagerduty.default.description\" . }}|{{ template \"pagerduty.default.instances\" .Alerts.Firing }}",
    "{{ template \"telegram.default.message\" . }}",
    "{{ template \"opsgenie.default.description\" . }}",
    "{{ template \"victorops.default.state_message\" . }}",
    "{{ template \"pushover.default.message\" . }}",
    "{{ template \"discord.default.message\" . }}",
    "{{ template \"webex.default.message\" . }}",
    "{{ template \"sns.default.message\" . }}",
    "{{ .CommonLabels.SortedPairs.Names | join \",\" }} {{ .CommonLabels.Values }} {{ .CommonLabels }}",
    "{{ (.CommonLabels.Remove .GroupLabels.Names).SortedPairs }}",
    "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }};{{ end }}",
    "{{ range $k, $v := .CommonLabels }}{{ $k }}:{{ $v }} {{ end }}",
    "{{ len .Alerts }} {{ .Alerts.Firing | len }} {{ len .CommonLabels }} {{ len \"满\" }}",
    "{{ (index .Alerts 0).Annotations.summary | toUpper }} {{ (index .Alerts 0).Labels.host | title }}",
    "{{ (index .Alerts 0).StartsAt }} {{ (index .Alerts 0).EndsAt }}",
    "{{ (index .Alerts 0).StartsAt.Format \"Mon Jan _2 2006 15:04:05.000 -07:00 MST\" }}",
    "{{ with index .Alerts 1 }}{{ .StartsAt.Year }} {{ .StartsAt.Month }} {{ .StartsAt.Weekday }} {{ .StartsAt.Unix }}{{ end }}",
    "{{ with index .Alerts 1 }}{{ .EndsAt.Sub .StartsAt }} {{ (.EndsAt.Sub .StartsAt).Hours }} {{ .EndsAt.After .StartsAt }}{{ end }}",
    "{{ .Missing }}",
    "[{{ .CommonLabels.missing }}] {{ if .CommonLabels.missing }}a{{ else }}b{{ end }}",
    "{{ printf \"%5d|%-5s|%05.1f|%q|%x|%v|%t|%e\" 42 \"ab\" 3.14159 \"a\\\"b\" 255 .GroupLabels true 1234.5 }}",
    "{{ printf \"%d %s\" \"x\" 1 }} {{ printf \"%s\" }} {{ printf \"a\" 1 }} {{ printf \"%v %v\" 1e6 1e-7 }}",
    "{{ print 1 2 \"a\" \"b\" 3 }} {{ println \"x\" 1 }}",
    "{{ and 1 0 }} {{ or 0 \"x\" }} {{ not \"\" }} {{ eq 1 2 1 }} {{ ne \"a\" \"b\" }} {{ lt 1 2 }} {{ ge \"b\" \"a\" }}",
    "{{ eq 1 1.0 }}",
    "{{ index .Alerts 7 }}",
    "{{ match \"^Disk\" .GroupLabels.alertname }} {{ reReplaceAll \"(D)isk\" \"${1}rive\" .GroupLabels.alertname }}",
    "{{ stringSlice \"a\" \"b\" | join \"+\" }} {{ slice \"abcdef\" 1 3 }}",
    "{{ html \"<a href='x'>&\" }} {{ js \"it's \\\"<x>\" }} {{ urlquery \"a b&c/满\" }}",
    "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ $x }}{{ end }}{{ $x }}",
    "a {{- /* c */ -}} b {{- \"c\" -}}\n  d\n{{- 1 }}\n",
    "{{ \"quoted\" | printf \"%s-%s\" `raw\\n` }} {{ 'x' }} {{ 0x1F }} {{ 1.5e3 }} {{ 1_000 }}",
    "{{ block \"b\" .Receiver }}<{{ . }}>{{ end }}",
    "{{ if eq .Status \"firing\" }}F{{ else if eq .Status \"resolved\" }}R{{ end }}",
    "{{ with $y := .Receiver }}{{ $y }}{{ . }}{{ end }}{{ with .CommonLabels.none }}x{{ else }}y{{ end }}",
    "{{ range .Alerts }}{{ if eq .Status \"resolved\" }}{{ break }}{{ end }}{{ .Labels.host }}{{ continue }}z{{ end }}",
    "{{ .Alerts.Resolved }}{{ nope }}",
    "{{ if true }}unclosed",
];

/// What a program prints, or `None` when it fails.
fn text_of(command: &mut Command) -> Option<String> {
    let output = command.env("HOME", "/nonexistent").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn amtool_and_saker_make_the_same_of_a_template() {
    let Some(amtool) = program("amtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (definitions, data) = (folder.path().join("own.tmpl"), folder.path().join("data.json"));
    fs::write(&definitions, DEFINITIONS).unwrap();
    fs::write(&data, DATA).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut differing = Vec::new();
    for text in TEXTS {
        let theirs = text_of(Command::new(&amtool).args([
            "template",
            "render",
            &format!("--template.glob={}", path(&definitions)),
            &format!("--template.glob={DEFAULTS}"),
            &format!("--template.text={text}"),
            &format!("--template.data={}", path(&data)),
        ]));
        let ours = text_of(Command::new(binary("saker")).args([
            "ctl",
            "templates",
            "render",
            "--text",
            text,
            "--data",
            &path(&data),
            &path(&definitions),
        ]));
        // Both end what they print with a line feed of their own.
        let bare = |text: &Option<String>| {
            text.as_deref().map(|text| text.trim_end_matches('\n').to_owned())
        };
        if bare(&theirs) != bare(&ours) {
            differing.push(format!("{text}\n  amtool: {theirs:?}\n  saker:  {ours:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn faulty_files_are_told_with_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.tmpl");
    fs::write(&file, "{{ define \"x\" }}\n  {{ nope }} {{ $y }}{{ end }}").unwrap();
    let checked = Command::new(binary("saker"))
        .args(["ctl", "templates", "check"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!checked.status.success());
    let told = String::from_utf8_lossy(&checked.stderr);
    for expected in
        ["bad.tmpl:2:6: there is no function \"nope\"", "bad.tmpl:2:17: there is no variable $y"]
    {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    fs::write(&file, "{{ define \"x\" }}{{ .Status }}{{ end }}").unwrap();
    let checked = Command::new(binary("saker"))
        .args(["ctl", "templates", "check"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(checked.status.success() && String::from_utf8_lossy(&checked.stdout).contains("good"));
}
