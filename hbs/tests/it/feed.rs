//! The list of hosts, followed by its changes.

use hbs::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::hbs::Hbs;

const FEED: &str = "/api/v1/host-feed";

fn names(page: &Value) -> Vec<&str> {
    let hosts = page["hosts"].as_array().expect("a list").iter();
    hosts.map(|host| host["name"].as_str().expect("a name")).collect()
}

impl Hbs {
    async fn feed(&self, page: &Value, more: &str) -> Value {
        let epoch = page["epoch"].as_str().unwrap_or("");
        self.json(&format!("{FEED}?epoch={epoch}&revision={}{more}", page["revision"])).await
    }
}

#[tokio::test]
async fn all_hosts_are_told_once_and_then_what_changes() {
    let hbs = Hbs::start(Config::default()).await;
    for host in ["a", "b", "c"] {
        hbs.beat(host).await;
    }
    let first = hbs.json(&format!("{FEED}?limit=2")).await;
    assert_eq!((names(&first), &first["next_after"]), (vec!["a", "b"], &json!("b")));
    assert_eq!((&first["whole"], &first["format"]), (&json!(true), &json!(1)));
    // Between the pages: told again as a change.
    hbs.beat("aa").await;
    let second = hbs.feed(&first, "&after=b&limit=2").await;
    assert_eq!((names(&second), second.get("next_after")), (vec!["c"], None));
    let changes = hbs.feed(&first, "").await;
    assert_eq!((names(&changes), &changes["whole"]), (vec!["aa"], &json!(false)));

    hbs.beat("aa").await;
    assert_eq!(names(&hbs.feed(&changes, "").await), [""; 0], "it was there before");
    hbs.beat("d").await;
    assert_eq!(hbs.change(Method::DELETE, "/api/v1/hosts/b", &json!({})).await.0, 204);
    let page = hbs.feed(&changes, "&limit=1").await;
    assert_eq!((names(&page), &page["more"]), (vec!["d"], &json!(true)));
    let page = hbs.feed(&page, "&limit=1").await;
    assert_eq!((&page["gone"], &page["more"]), (&json!(["b"]), &json!(false)));
}

#[tokio::test]
async fn a_question_with_revisions_of_another_life_is_answered_with_all_hosts() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.beat("a").await;
    let known = hbs.json(FEED).await;
    hbs.context.clock.advance(std::time::Duration::from_secs(2));
    let now = hbs.context.clock.now();
    let hbs = hbs.restart(Config::default(), now).await;
    let page = hbs.feed(&known, "&after=x").await;
    assert_eq!((names(&page), &page["whole"]), (vec!["a"], &json!(true)));
    assert_ne!(page["epoch"], known["epoch"]);
    let future = json!({ "epoch": page["epoch"], "revision": 99 });
    assert_eq!(hbs.feed(&future, "").await["whole"], true);
    assert!(hbs.get(&format!("{FEED}?epoc=x")).await.contains("epoc"), "an unknown word is named");
}
