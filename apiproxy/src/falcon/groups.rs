//! `GET /hostgroupsimple/{group}`: the names of a group's hosts, in all data centres.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use wire::prom_api::ErrorKind;

use super::names::number_of;
use crate::error::ApiError;
use crate::hbs::Hbs;
use crate::site::{Ask, Site};

/// The hosts of a group, which is named, or numbered as `number_of` its name does.
pub(super) async fn hosts(ask: &Ask, group: &str) -> Result<String, ApiError> {
    let sites = ask.sites.list();
    if sites.iter().all(|site| site.about.hbs.is_empty()) {
        let text = "no hbs is named, which knows the groups: set hbs_urls of apiproxy or of its data centres";
        return Err(ApiError { kind: ErrorKind::NotFound, message: text.to_owned() });
    }
    let answers = join_all(sites.iter().map(|site| hosts_at(ask, site, group))).await;
    let found: Vec<BTreeSet<String>> = answers.into_iter().flatten().collect();
    if found.is_empty() {
        if let Some((name, why)) = ask.missing().pop_first() {
            return Err(ApiError::unavailable(format!("data centre {name}: {why}")));
        }
        let text = format!("no data centre has a group {group:?}");
        return Err(ApiError { kind: ErrorKind::NotFound, message: text });
    }
    let hosts: BTreeSet<String> = found.into_iter().flatten().collect();
    Ok(json!({ "hosts": hosts }).to_string())
}

/// The hosts in one data centre; nothing when it has no such group, or none of its hbs answers, which is noted.
async fn hosts_at(ask: &Ask, site: &Site, group: &str) -> Option<BTreeSet<String>> {
    let answers = join_all(site.about.hbs.iter().map(|hbs| hosts_of(hbs, group))).await;
    let (mut all, mut is_answered, mut why) = (None, false, String::new());
    for answer in answers {
        match answer {
            Ok(hosts) => {
                is_answered = true;
                if let Some(hosts) = hosts {
                    all.get_or_insert_with(BTreeSet::new).extend(hosts);
                }
            }
            Err(error) => why = format!("hbs: {error:#}"),
        }
    }
    if !is_answered && !why.is_empty() {
        ask.miss(&site.centre.name, &why);
    }
    all
}

async fn hosts_of(hbs: &Hbs, group: &str) -> anyhow::Result<Option<BTreeSet<String>>> {
    let Ok(number) = group.parse::<u64>() else { return hbs.group(group).await };
    // A name may be made of digits, too.
    if let Some(hosts) = hbs.group(group).await? {
        return Ok(Some(hosts));
    }
    match hbs.groups().await?.into_iter().find(|name| number_of(name) == number) {
        Some(name) => hbs.group(&name).await,
        None => Ok(None),
    }
}
