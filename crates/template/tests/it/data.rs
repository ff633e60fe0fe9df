//! What a template sees of a group of alerts.

use template::alertmanager::{LIMITS, Reader, data, own};

use crate::{NOW, check, group, parse, render};

#[test]
fn the_group_and_its_alerts_are_at_hand() {
    check("{{ .Receiver }} {{ .Status }} {{ .ExternalURL }}", "ops firing http://alarm");
    check("{{ len .Alerts }} {{ .Alerts.Firing | len }} {{ len .Alerts.Resolved }}", "2 1 1");
    check("{{ .GroupLabels.team }} {{ .CommonLabels.Zone }} [{{ .CommonLabels.host }}]", "db a []");
    check(
        "{{ range .Alerts }}{{ .Labels.host }}={{ .Status }} {{ end }}",
        "web-1=firing web-2=resolved ",
    );
    check("{{ (index .Alerts 0).Annotations.summary }}", "web-1 <is> full");
    check("{{ with index .Alerts.Resolved 0 }}{{ .GeneratorURL }}{{ end }}", "http://judge/g");
    check(
        "{{ .Recipient }} {{ .Language }} {{ .GroupKey }} {{ .TruncatedAlerts }}",
        "ann en {}:{} 0",
    );
}

#[test]
fn labels_are_sorted_with_the_name_of_the_alert_first() {
    check(
        "{{ range .CommonLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
        "alertname=DiskFull Zone=a team=db ",
    );
    check(
        "{{ .GroupLabels.SortedPairs.Names }} {{ .GroupLabels.Values | join \",\" }}",
        "[alertname team] DiskFull,db",
    );
    check("{{ (.CommonLabels.Remove .GroupLabels.Names).Names | join \" \" }}", "Zone");
    check(
        "{{ .CommonLabels.Remove (stringSlice \"Zone\" \"none\") }}",
        "map[alertname:DiskFull team:db]",
    );
    check(
        "{{ range $name, $value := .GroupLabels }}{{ $name }}:{{ $value }};{{ end }}",
        "alertname:DiskFull;team:db;",
    );
}

#[test]
fn times_have_methods_and_zones() {
    check(
        "{{ with index .Alerts 0 }}{{ .StartsAt.Format \"2006-01-02 15:04:05 MST\" }} {{ .EndsAt.IsZero }}{{ end }}",
        "2023-11-14 22:11:50 UTC true",
    );
    check("{{ (index .Alerts 1).EndsAt }}", "2023-11-14 22:13:19.5 +0000 UTC");
    check("{{ (index .Alerts 0).EndsAt }}", "0001-01-01 00:00:00 +0000 UTC");
    check(
        "{{ (index .Alerts 0).StartsAt | tz \"Asia/Shanghai\" | date \"15:04 MST -0700 Z07:00\" }}",
        "06:11 CST +0800 +08:00",
    );
    check(
        "{{ (index .Alerts 0).StartsAt | since }} {{ (index .Alerts 0).StartsAt | since | humanizeDuration }}",
        "1m30s 1m 30s",
    );
    check(
        "{{ with index .Alerts 1 }}{{ (.EndsAt.Sub .StartsAt).Seconds }} {{ .EndsAt.After .StartsAt }}{{ end }}",
        "89.5 true",
    );
    assert!(render("{{ (index .Alerts 0).StartsAt | tz \"Mars/Olympus\" }}").is_err());
}

#[test]
fn labels_of_the_route_and_the_reason_are_at_hand_wherever_the_dot_is() {
    check("{{ .RouteLabels.owner }} {{ .NotificationReason }}", "dba new alerts added");
    check(
        "{{ with .Alerts }}{{ (routeLabels).tier }}{{ routeLabels.SortedPairs | len }}{{ end }}",
        "12",
    );
    assert!(render("{{ routeLabels 1 }}").is_err());
}

#[test]
fn what_is_not_there_is_a_mistake_in_a_structure_and_nothing_in_labels() {
    check("[{{ .CommonLabels.absent }}{{ .CommonAnnotations.absent }}]", "[]");
    let fault = render("ok\n {{ .Reciever }}").expect_err("there is no such field");
    assert_eq!(fault, "text:2:5: can't evaluate field Reciever in type template.Data");
    let fault =
        render("{{ range .Alerts }}{{ .Lables.x }}{{ end }}").expect_err("there is no such field");
    assert!(fault.contains("Lables") && fault.contains("template.Alert"), "{fault}");
}

#[test]
fn what_comes_from_alerts_is_escaped_and_what_the_template_says_is_not() {
    let template =
        parse("<b>{{ (index .Alerts 0).Annotations.summary }}</b>{{ safeHtml \"<hr>\" }}").unwrap();
    let data = data(&group(), Reader::default());
    let escape = |text: &str| text.replace('<', "&lt;").replace('>', "&gt;");
    let text = template.render(&data, &own(NOW, &data), &LIMITS, Some(escape));
    assert_eq!(text.as_deref(), Ok("<b>web-1 &lt;is&gt; full</b><hr>"));
}

#[test]
fn the_definitions_of_alertmanager_may_be_called() {
    check("{{ template \"__subject\" . }}", "[FIRING:1] DiskFull db (a)");
    check(
        "{{ template \"slack.default.title\" . }}{{ template \"slack.default.text\" . }}",
        "[FIRING:1] DiskFull db (a)",
    );
    let list = render("{{ template \"__text_alert_list\" .Alerts.Firing }}").unwrap();
    let expected = "Labels:\n - alertname = DiskFull\n - Zone = a\n - host = web-1\n - team = db\n\
                    Annotations:\n - summary = web-1 <is> full\nSource: http://judge/g\n";
    assert_eq!(list, expected);
    let mail = render("{{ template \"email.default.html\" . }}").unwrap();
    assert!(mail.starts_with("<!doctype html>") && mail.contains("<td>web-2</td>"), "{mail}");
    for name in ["wechat", "telegram", "discord", "webex", "pushover", "sns"] {
        let text = render(&format!("{{{{ template \"{name}.default.message\" . }}}}")).unwrap();
        assert!(text.contains("Alerts Resolved:\nLabels:\n - alertname"), "{name}: {text}");
    }
}
