//! The list of hosts for those who follow it: see [`wire::host_feed`].

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use model::Timestamp;
use wire::host_feed::{FORMAT, FeedHost, FeedPage, FeedQuestion, PAGE_MAX, PATH};

use crate::app::App;
use crate::fleet::{Fleet, Host};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route(PATH, get(feed))
}

async fn feed(State(app): State<Arc<App>>, Query(question): Query<FeedQuestion>) -> Json<FeedPage> {
    let (now, silent_after) = (app.clock.now(), app.config.silent_after);
    let told = |host: &Host| FeedHost {
        name: host.row.name.clone(),
        ip: host.row.ip.clone(),
        seen_at: Timestamp(host.row.seen_at),
        silent: host.age(now) >= silent_after,
    };
    let page = answer(&app.fleet(), &question, told);
    let interval = u64::try_from(app.config.heartbeat_interval.as_millis()).unwrap_or(u64::MAX);
    Json(FeedPage { heartbeat_interval_millis: interval, ..page })
}

fn answer(fleet: &Fleet, question: &FeedQuestion, told: impl Fn(&Host) -> FeedHost) -> FeedPage {
    let limit = question.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let changes = fleet.changes();
    let epoch = changes.epoch().to_owned();
    let is_known = question.epoch == epoch;
    if is_known
        && question.after.is_empty()
        && let Some(since) = changes.since(question.revision)
    {
        let names: Vec<&str> = since.take(limit).collect();
        let revision = question.revision + names.len() as u64;
        let mut page = FeedPage { format: FORMAT, epoch, revision, ..FeedPage::default() };
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            match fleet.host(name) {
                Some(host) => page.hosts.push(told(host)),
                None => page.gone.push(name.to_owned()),
            }
        }
        page.more = revision < changes.revision();
        return page;
    }
    // Pages of another life do not fit together with those of this one: it begins again.
    let after = if is_known { question.after.as_str() } else { "" };
    let mut all = fleet.hosts_after(after);
    let hosts: Vec<FeedHost> = all.by_ref().take(limit).map(told).collect();
    let next_after = all.next().and(hosts.last()).map(|host| host.name.clone());
    let revision = changes.revision();
    FeedPage {
        format: FORMAT,
        epoch,
        revision,
        whole: true,
        hosts,
        next_after,
        ..FeedPage::default()
    }
}
