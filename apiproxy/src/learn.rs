//! Learns which hosts live where: every store tells the hosts that it has series of, and once which language it
//! evaluates.

use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use model::{ENDPOINT, Timestamp};

use crate::catalogue::{Catalogue, SiteSet};
use crate::site::Sites;

/// A host that has moved is found at its new place within this time.
const LEARN_EVERY: Duration = Duration::from_secs(5);
/// How long the stores may take.
const LEARN_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks all stores for their hosts, again and again. What a store told last holds while it is away.
pub(crate) async fn learn_hosts(sites: Arc<Sites>, clock: Clock) {
    let count = sites.list().len();
    let mut known: Vec<Option<Vec<String>>> = vec![None; count];
    loop {
        let ask = sites.ask(LEARN_TIMEOUT);
        let told = ask
            .each(SiteSet::first(count), |site, _| async move {
                let reader = &site.centre.reader;
                site.is_promql().await?;
                Ok(reader.label_values(ENDPOINT, &[], Timestamp::MIN, Timestamp::MAX, 0).await?)
            })
            .await;
        let mut is_new = false;
        for (site, hosts) in told.unwrap_or_default() {
            let at = sites.list().iter().position(|other| Arc::ptr_eq(other, &site));
            if let Some(place) = at.and_then(|at| known.get_mut(at)) {
                is_new |= place.as_ref() != Some(&hosts);
                *place = Some(hosts);
            }
        }
        if is_new {
            sites.put_catalogue(Catalogue::new(&known));
        }
        clock.sleep(LEARN_EVERY).await;
    }
}
