//! The pages of silences: nothing is stored before it was looked at, and what they do the API sees.

use std::time::Duration;

use serde_json::Value;

use crate::harness::Alarm;

const ABOUT_DISKS: &str =
    "matchers=alertname%3D%22DiskFull%22&span=2h&author=ann&comment=disk+is+changed";

async fn silences(alarm: &Alarm) -> Vec<Value> {
    alarm.get_json("/api/v2/silences").await.as_array().unwrap().clone()
}

/// What the form had looked at, as its page says.
fn seen(html: &str) -> String {
    let (_, rest) = html.split_once("name=\"seen\" value=\"").unwrap();
    let seen = rest.split('"').next().unwrap().replace("&#34;", "\"").replace("&quot;", "\"");
    channels::sign::percent(&seen)
}

async fn make(alarm: &Alarm) -> (String, String) {
    let (status, html) =
        alarm.submit("/silences/save", "", &format!("{ABOUT_DISKS}&action=save")).await;
    assert_eq!(status, 200);
    let form = format!("{ABOUT_DISKS}&action=save&seen={}", seen(&html));
    (html, alarm.submit("/silences/save", "", &form).await.1)
}

#[tokio::test]
async fn a_silence_is_stored_once_its_alerts_were_shown() {
    let alarm = Alarm::start("").await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    let html = alarm.get("/silences").await;
    assert!(
        html.contains("Nothing is silenced") && html.contains("aria-current=\"page\">Silences")
    );
    let form = format!("{ABOUT_DISKS}&action=save");
    let (status, html) = alarm.submit("/silences/save", "", &form).await;
    assert!(status == 200 && html.contains("Nothing is stored yet"), "{html}");
    assert!(html.contains(">DiskFull</a>") && !html.contains(">LoadHigh</a>"));
    assert!(html.contains("1 of them critical"));
    assert!(silences(&alarm).await.is_empty());
    let (status, html) =
        alarm.submit("/silences/save", "", &format!("{form}&seen={}", seen(&html))).await;
    assert!(status == 200 && html.contains("The silence is stored"), "{html}");
    let stored = silences(&alarm).await;
    assert_eq!(
        (&stored[0]["createdBy"], &stored[0]["comment"]),
        (&"ann".into(), &"disk is changed".into())
    );
    assert_eq!(stored[0]["status"]["state"], "active");
    assert_eq!(stored[0]["endsAt"], alarm.moment(7_200));
    let html = alarm.get("/silences").await;
    assert!(html.contains("in 2 h") && html.contains("alertname=&#34;DiskFull&#34;"), "{html}");
}

#[tokio::test]
async fn it_is_prolonged_changed_and_ended_and_the_audit_says_by_whom() {
    let alarm = Alarm::start("").await;
    make(&alarm).await;
    let id = silences(&alarm).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/silences/{id}");
    alarm.advance(Duration::from_secs(3_600));
    let html = alarm.get(&path).await;
    let longer = format!("{ABOUT_DISKS}&id={id}&action=save&ends_after=10m&seen={}", seen(&html));
    assert_eq!(alarm.submit("/silences/save", "", &longer).await.0, 200);
    let stored = silences(&alarm).await;
    assert_eq!((stored.len(), &stored[0]["endsAt"]), (1, &alarm.moment(7_200).into()));
    assert_eq!(stored[0]["endsWithAlert"], "10m");
    let wider = longer.replacen("%3D%22DiskFull", "%3D~%22Disk.%2B", 1);
    let (_, html) = alarm.submit("/silences/save", "", &wider).await;
    assert!(html.contains("Nothing is stored yet"), "other matchers are looked at first: {html}");
    let end = format!("id={id}&action=end");
    let (status, html) = alarm.submit("/silences/save", "saker_owner=bob", &end).await;
    assert!(status == 200 && html.contains("The silence has ended"), "{html}");
    assert_eq!(silences(&alarm).await[0]["status"]["state"], "expired");
    let html = alarm.get("/silences?state=expired").await;
    assert!(html.contains(&format!("/silences/new?again={id}")));
    assert!(alarm.get(&format!("/silences/new?again={id}")).await.contains("disk is changed"));
    let trail = alarm.db().audit().page("", &format!("silence/{id}"), 10).await.unwrap();
    let trail: Vec<_> = trail.iter().map(|e| (e.actor.as_str(), e.action.as_str())).collect();
    assert_eq!(trail, [("bob", "silence.expire"), ("ann", "silence.put"), ("ann", "silence.put")]);
}

#[tokio::test]
async fn from_an_alert_the_matchers_are_filled_in_as_wide_as_is_wanted() {
    let alarm = Alarm::start("").await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    let fingerprint = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let case = alarm.get(&format!("/alerts/{fingerprint}")).await;
    let path = format!("/silences/new?alert={fingerprint}");
    assert!(case.contains(&path));
    let html = alarm.get(&path).await;
    assert!(html.contains("alertname=&#34;DiskFull&#34;\nendpoint=&#34;web-03&#34;"), "{html}");
    assert!(html.contains("1 unresolved alert matches"));
    let html = alarm.get(&format!("{path}&scope=host")).await;
    assert!(html.contains("2 unresolved alerts match") && html.contains(">LoadHigh</a>"));
    assert!(silences(&alarm).await.is_empty(), "GET changes nothing");
    let unknown = alarm.context.http.get(alarm.url("/silences/new?alert=00000000000000ff"));
    assert_eq!(unknown.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_must_not_be_is_refused_and_the_form_keeps_what_was_typed() {
    let alarm = Alarm::start("").await;
    for (form, why) in [
        ("matchers=alertname&span=2h&author=ann&comment=x", "cannot be read"),
        ("matchers=a%3Db&span=2h&author=&comment=", "name is missing"),
        (
            "matchers=a%3Db&span=&ends=2020-01-01T00:00&author=ann&comment=x&seen=%7Ba%3D%22b%22%7D",
            "in the future",
        ),
        ("matchers=a%3D~.*&span=2h&author=ann&comment=x&seen=%7Ba%3D~%22.*%22%7D", "every alert"),
    ] {
        let (status, html) =
            alarm.submit("/silences/save", "", &format!("{form}&action=save")).await;
        assert!(status == 422 && html.contains(why), "{form}: {status} {html}");
    }
    let foreign = alarm.context.http.post(alarm.url("/silences/save"));
    let foreign = foreign.header("Origin", "http://evil.example").body(ABOUT_DISKS);
    let foreign = foreign.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    assert!(silences(&alarm).await.is_empty());
}

#[tokio::test]
async fn the_page_of_an_alert_tells_what_people_did_about_it() {
    let alarm = Alarm::start("").await;
    alarm.fire("DiskFull", "critical").await;
    let fingerprint = alarm.case("DiskFull").await["fingerprint"].as_str().unwrap().to_owned();
    let path = format!("/alerts/{fingerprint}");
    let claim = |form: &'static str| {
        let path = format!("{path}/claims");
        let alarm = &alarm;
        async move { alarm.submit(&path, "saker_owner=bob", form).await.0 }
    };
    assert_eq!(claim("act=ack&owner=ann&note=disk+ordered&duration=1h").await, 200);
    alarm.advance(Duration::from_secs(60));
    assert_eq!(claim("act=unack").await, 200);
    alarm.advance(Duration::from_secs(60));
    assert_eq!(claim("act=snooze&owner=cleo&duration=30m").await, 200);
    make(&alarm).await;
    alarm.advance(Duration::from_secs(1_801));
    let html = alarm.get(&path).await;
    for told in [
        "disk ordered",
        "bob gave it back; ann had taken it",
        "cleo ran out",
        "Silenced by ann until",
    ] {
        assert!(html.contains(told), "{told}: {html}");
    }
    let delivery = alarm.get_json(&format!("/api/v1/alerts/{fingerprint}/delivery")).await;
    let acts: Vec<_> = delivery["claims"].as_array().unwrap().iter().map(|c| &c["act"]).collect();
    assert_eq!(acts, ["ran_out", "made", "taken_back", "made"]);
    assert_eq!(delivery["claims"][3]["note"], "disk ordered");
    assert_eq!(delivery["silences"][0]["createdBy"], "ann");
}
