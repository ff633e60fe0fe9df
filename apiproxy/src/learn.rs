//! Learns which hosts live where: every store tells the hosts that it has series of, and once which language it
//! evaluates; every hbs tells the hosts that it hears. Each is followed by itself, so that none waits for another.

use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use futures_util::future::{BoxFuture, join_all};
use model::{ENDPOINT, Timestamp};

use crate::catalogue::SiteSet;
use crate::centres::{Centres, Place};
use crate::follow::{Follower, News};
use crate::hbs::Hbs;
use crate::site::Sites;

/// A host that has moved is found at its new place within this time, and what it takes to tell.
const LEARN_EVERY: Duration = Duration::from_secs(5);
/// How long a store may take; its own timeout is shorter as a rule.
const LEARN_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks all stores and hbs for their hosts, again and again. What one told last holds while it is away.
pub(crate) async fn learn_hosts(centres: Arc<Centres>, clock: Clock) {
    let mut changes = centres.changes();
    loop {
        changes.mark_unchanged();
        let place = centres.place();
        tokio::select! {
            () = follow_all(&centres, &place, &clock) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Follows the sources of these data centres; for ever.
async fn follow_all(centres: &Centres, place: &Place, clock: &Clock) {
    let sites = &place.sites;
    let mut all: Vec<BoxFuture<'_, ()>> = Vec::new();
    // A store that is asked for everything has nothing to be told apart.
    if sites.list().len() > 1 {
        for (at, site) in sites.list().iter().enumerate() {
            all.push(Box::pin(follow_store(centres, place, at, clock)));
            for hbs in &site.about.hbs {
                all.push(Box::pin(follow_hbs(centres, place, (at, hbs), clock)));
            }
        }
    }
    all.push(Box::pin(std::future::pending()));
    join_all(all).await;
}

async fn follow_store(centres: &Centres, place: &Place, at: usize, clock: &Clock) {
    loop {
        let told = hosts_of_store(&place.sites, at).await;
        let now = clock.now();
        centres.learn(place, |census, current| match &told {
            Ok(hosts) => census.store_told(current, at, hosts, now),
            Err(why) => census.store_failed(current, at, why, now),
        });
        clock.sleep(LEARN_EVERY).await;
    }
}

async fn hosts_of_store(sites: &Arc<Sites>, at: usize) -> Result<Vec<String>, String> {
    let ask = sites.ask(LEARN_TIMEOUT);
    let told = ask
        .each(SiteSet::one(at), |site, _| async move {
            let reader = &site.centre.reader;
            site.is_promql().await?;
            Ok(reader.label_values(ENDPOINT, &[], Timestamp::MIN, Timestamp::MAX, 0).await?)
        })
        .await;
    let mut hosts = told.map_err(|error| error.message)?;
    Ok(hosts.pop().map(|(_, hosts)| hosts).unwrap_or_default())
}

async fn follow_hbs(centres: &Centres, place: &Place, (at, hbs): (usize, &Hbs), clock: &Clock) {
    let mut follower = Follower::default();
    let mut is_away = false;
    loop {
        let news = hbs.news(&mut follower).await;
        let (now, whose) = (clock.now(), (at, hbs.url.as_str()));
        match &news {
            Ok(news) => {
                is_away = false;
                centres.learn(place, |census, current| census.hbs_told(current, whose, news, now));
            }
            Err(error) => {
                let why = format!("{error:#}");
                if !is_away {
                    tracing::warn!(
                        hbs = hbs.url,
                        why,
                        "a hbs does not tell its hosts; what it told last holds"
                    );
                }
                is_away = true;
                centres.learn(place, |census, _| census.hbs_failed(whose, &why));
            }
        }
        let is_more = match news {
            Ok(News::More) => true,
            Ok(News::Changed { is_more, .. }) => is_more,
            Ok(News::All(_)) | Err(_) => false,
        };
        if !is_more {
            clock.sleep(LEARN_EVERY).await;
        }
    }
}
