//! Acting on several alerts of the list at once, by a form that needs no script.

use serde_json::Value;

use crate::harness::Alarm;

/// Alarm with three alerts, and their fingerprints by name.
async fn start() -> (Alarm, impl Fn(&str) -> String) {
    let alarm = Alarm::start("").await;
    for name in ["DiskFull", "LoadHigh", "NetDown"] {
        alarm.fire(name, "critical").await;
    }
    let json = alarm.get_json("/alerts.json").await;
    let alerts: Vec<(String, String)> = json["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&alert["labels"]["alertname"]), text(&alert["fingerprint"]))
        })
        .collect();
    let id = move |name: &str| {
        alerts.iter().find(|(known, _)| known == name).map(|(_, id)| id.to_owned()).unwrap()
    };
    (alarm, id)
}

/// What is muted, as it is stored.
async fn mutes(alarm: &Alarm) -> Vec<String> {
    let stored = alarm.db().mutes().live(alarm.context.clock.now()).await.unwrap();
    stored.into_iter().map(|mute| mute.body).collect()
}

#[tokio::test]
async fn alerts_that_are_ticked_are_taken_and_the_others_are_not() {
    let (alarm, id) = start().await;
    let plain = alarm.get("/alerts?q=web").await;
    assert!(
        plain.contains("href=\"/alerts?q=web&amp;select=1\"")
            || plain.contains("q=web&#38;select=1"),
        "{plain}"
    );
    assert!(!plain.contains("type=\"checkbox\""));
    let page = alarm.get("/alerts?q=web&select=1").await;
    assert_eq!(page.matches("type=\"checkbox\"").count(), 3);
    assert!(!page.contains(" checked"), "nothing is ticked to begin with");
    assert!(!page.contains("http-equiv=\"refresh\""), "what was ticked would be lost");
    let all = alarm.get("/alerts?select=all").await;
    assert_eq!(all.matches(" checked").count(), 3);

    let form = format!(
        "alert={}&alert={}&owner=ann&note=on+it&duration=&act=ack&back=%2Falerts%3Fq%3Dweb",
        id("DiskFull"),
        id("NetDown")
    );
    let (code, page) = alarm.submit("/alerts/act", "", &form).await;
    assert!(code == 200 && page.contains("Done for 2 alerts."), "{code} {page}");
    assert!(page.contains("value=\"web\""), "the filter is as it was");
    let claims = alarm.get_json("/api/v1/claims").await.to_string();
    assert!(claims.contains(&id("DiskFull")) && claims.contains(&id("NetDown")), "{claims}");
    assert!(!claims.contains(&id("LoadHigh")), "{claims}");
}

#[tokio::test]
async fn what_is_ticked_is_muted_for_one_person_and_each_thing_once() {
    let (alarm, id) = start().await;
    let form = format!(
        "alert={}&alert={}&owner=ann&duration=4h&act=mute&back=",
        id("DiskFull"),
        id("LoadHigh")
    );
    let (code, page) = alarm.submit("/alerts/act", "", &form).await;
    assert!(code == 200 && page.contains("Done for 2 alerts."), "{code} {page}");
    let (code, _) = alarm.submit("/alerts/act", "", &form).await;
    assert_eq!(code, 200);
    let mutes = mutes(&alarm).await;
    assert_eq!(mutes.len(), 2, "{mutes:?}");
    assert!(
        mutes.iter().all(|mute| mute.contains("\"ann\"") && mute.contains("14400")),
        "{mutes:?}"
    );
}

#[tokio::test]
async fn forms_of_other_sites_and_forms_that_name_nothing_change_nothing() {
    let (alarm, id) = start().await;
    let form = format!("alert={}&owner=ann&act=ack&back=", id("DiskFull"));
    let request = alarm.context.http.post(alarm.url("/alerts/act"));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    let foreign = request.header("Origin", "http://evil.example").body(form.to_owned());
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    for (form, expected) in [
        ("owner=ann&act=ack".to_owned(), 400),
        (format!("alert={}&owner=&act=ack", id("DiskFull")), 400),
        (format!("alert={}&owner=ann&act=drop", id("DiskFull")), 400),
        ("alert=zzz&owner=ann&act=ack".to_owned(), 400),
        ("alert=00000000000000aa&owner=ann&act=ack".to_owned(), 409),
        (format!("alert={}&owner=ann&act=mute&duration=1s", id("DiskFull")), 400),
    ] {
        let (code, page) = alarm.submit("/alerts/act", "", &form).await;
        assert_eq!(code, expected, "{form}: {page}");
    }
    assert_eq!(alarm.get_json("/api/v1/claims").await.to_string().matches("DiskFull").count(), 0);
    assert!(mutes(&alarm).await.is_empty());
    let form = format!("alert={}&owner=ann&act=ack&back=//evil.example/x?q=web", id("DiskFull"));
    let request = alarm.context.http.post(alarm.url("/alerts/act"));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["location"], "/alerts?q=web&done=1");
}
