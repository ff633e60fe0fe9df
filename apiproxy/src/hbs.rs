//! What apiproxy asks hbs of a data centre: its hosts, and the hosts of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wire::host_feed::{self, FeedHost, FeedPage, FeedQuestion};

use crate::follow::{Follower, News};
use crate::rules::read_at_most;

/// How long one page is waited for.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of ten thousand hosts has some 2 MB.
const PAGE_BYTES_MAX: usize = 32 << 20;
/// Pages of a list at most.
const PAGES_MAX: usize = 1000;
/// Hosts on a page of a group, the most that hbs gives.
const GROUP_PAGE: usize = 10_000;

/// A hbs. Its token, if any, is not needed to read.
#[derive(Debug, Clone)]
pub(crate) struct Hbs {
    pub(crate) url: String,
    http: Client,
}

/// All hosts of a hbs.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) hosts: Vec<FeedHost>,
    /// How often hosts are told to send a heartbeat.
    pub(crate) heartbeat_interval: Duration,
}

#[derive(Debug, Deserialize)]
struct GroupPage {
    hosts: Vec<GroupHost>,
    next_after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GroupHost {
    host: String,
}

#[derive(Debug, Deserialize)]
struct GroupList {
    groups: Vec<GroupName>,
    next_after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GroupName {
    name: String,
}

impl Hbs {
    /// At an address as `http://host:port`.
    pub(crate) fn new(url: &str, http: Client) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), http }
    }

    /// The next page for one who follows its hosts.
    pub(crate) async fn news(&self, follower: &mut Follower) -> anyhow::Result<News> {
        let page = self.page(&follower.question()).await?.context("it tells no hosts")?;
        Ok(follower.take(page)?)
    }

    /// All its hosts as they are now.
    pub(crate) async fn hosts(&self) -> anyhow::Result<Heard> {
        let mut question = FeedQuestion::default();
        let mut heard = Heard::default();
        for _ in 0..PAGES_MAX {
            let page = self.page(&question).await?.context("it tells no hosts")?;
            anyhow::ensure!(page.whole, "it answers with changes to a question for all hosts");
            if page.epoch != question.epoch {
                heard.hosts.clear();
            }
            heard.hosts.extend(page.hosts);
            heard.heartbeat_interval = Duration::from_millis(page.heartbeat_interval_millis);
            let Some(after) = page.next_after else { return Ok(heard) };
            question =
                FeedQuestion { epoch: page.epoch, revision: page.revision, after, limit: None };
        }
        anyhow::bail!("it has more than {PAGES_MAX} pages of hosts")
    }

    async fn page(&self, question: &FeedQuestion) -> anyhow::Result<Option<FeedPage>> {
        let mut query = Vec::new();
        if !question.epoch.is_empty() {
            query.push(("epoch", question.epoch.clone()));
            query.push(("revision", question.revision.to_string()));
        }
        if !question.after.is_empty() {
            query.push(("after", question.after.clone()));
        }
        self.get(&[], host_feed::PATH, &query).await
    }

    /// The hosts of a group and those below it; nothing when it has no such group.
    pub(crate) async fn group(&self, group: &str) -> anyhow::Result<Option<BTreeSet<String>>> {
        let (mut hosts, mut after) = (BTreeSet::new(), String::new());
        for _ in 0..PAGES_MAX {
            let query = [("limit", GROUP_PAGE.to_string()), ("after", after)];
            let page = self.get(&[group, "hosts"], "/api/v1/groups", &query).await?;
            let Some(GroupPage { hosts: found, next_after }) = page else { return Ok(None) };
            hosts.extend(found.into_iter().map(|host| host.host));
            match next_after {
                Some(next) => after = next,
                None => return Ok(Some(hosts)),
            }
        }
        anyhow::bail!("the group has more than {PAGES_MAX} pages of hosts")
    }

    /// The names of its groups.
    pub(crate) async fn groups(&self) -> anyhow::Result<Vec<String>> {
        let (mut groups, mut after) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let query = [("limit", "1000".to_owned()), ("after", after)];
            let page: Option<GroupList> = self.get(&[], "/api/v1/groups", &query).await?;
            let page = page.context("it tells no groups")?;
            groups.extend(page.groups.into_iter().map(|group| group.name));
            match page.next_after {
                Some(next) => after = next,
                None => return Ok(groups),
            }
        }
        anyhow::bail!("it has more than {PAGES_MAX} pages of groups")
    }

    /// An answer, or nothing when there is none under this address.
    async fn get<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<Option<T>> {
        let mut url = Url::parse(&format!("{}{path}", self.url)).context("its address")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(parts);
        }
        let asked = self.http.get(url).query(query).timeout(PAGE_TIMEOUT).send().await;
        let answer = asked.map_err(reqwest::Error::without_url).context("it does not answer")?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status => anyhow::ensure!(status.is_success(), "it answers {status}"),
        }
        let body = read_at_most(answer, PAGE_BYTES_MAX).await?;
        serde_json::from_slice(&body).map(Some).context("its answer cannot be read")
    }
}
