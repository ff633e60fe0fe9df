//! Brings an import into hbs and judge by their APIs. What is there already stays as it is, so a second
//! time changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use daemon::Clock;
use falcon::{HostGroup, Import, Portal};
use model::Timestamp;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Serialize;
use serde_json::{Value, json};

/// Hosts in one change of a group's members, far within what hbs takes at once.
const MEMBERS_PER_CHANGE: usize = 2000;
/// What the names of all imported rule groups begin with.
const RULE_GROUP_PREFIX: &str = "falcon-";
/// Why an imported window of maintenance is there.
const MAINTENANCE_REASON: &str = "imported from Open-Falcon";

/// Where to bring it.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The hbs that gets the host groups.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6031")]
    hbs: String,
    /// The judge that gets the rule groups.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6081")]
    judge: String,
    /// A file with the token that allows changes from another machine.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applied {
    host_groups: Counts,
    members_added: usize,
    maintenance_added: usize,
    rule_groups: Counts,
    /// Rule groups of an earlier import that are no more.
    stale: Vec<String>,
    removed: usize,
    /// What was left alone, and why.
    left: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    created: usize,
    changed: usize,
    unchanged: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, changed, unchanged } = self;
        write!(f, "{created} created, {changed} changed, {unchanged} unchanged")
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host groups: {}, {} members added", self.host_groups, self.members_added)?;
        writeln!(f, "maintenance: {} windows added", self.maintenance_added)?;
        write!(f, "rule groups: {}, {} removed", self.rule_groups, self.removed)?;
        if !self.stale.is_empty() {
            let stale = self.stale.join(", ");
            write!(
                f,
                "\nof an earlier import and no more in this one (--prune removes them): {stale}"
            )?;
        }
        self.left.iter().try_for_each(|left| write!(f, "\nleft alone: {left}"))
    }
}

impl Target {
    /// Creates and changes what is missing or different.
    pub(super) async fn apply(
        &self,
        http: &Client,
        portal: &Portal,
        import: &Import,
        prune: bool,
    ) -> anyhow::Result<Applied> {
        let token = match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("read the token in {}", file.display()))?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        let api =
            |base: &str| Api { http: http.clone(), base: base.to_owned(), token: token.clone() };
        let (hbs, judge) = (api(&self.hbs), api(&self.judge));
        let mut applied = Applied::default();
        for (done, group) in import.host_groups.iter().enumerate() {
            if done > 0 && done.is_multiple_of(100) {
                eprintln!("host groups: {done} of {}", import.host_groups.len());
            }
            let work = applied.host_group(&hbs, group).await;
            work.with_context(|| format!("bring host group {} into hbs", group.name))?;
        }
        let windows = applied.maintenance(&hbs, portal).await;
        windows.context("bring the windows of maintenance into hbs")?;
        applied.rules(&judge, import, prune).await?;
        Ok(applied)
    }
}

impl Applied {
    async fn host_group(&mut self, hbs: &Api, group: &HostGroup) -> anyhow::Result<()> {
        let path = ["groups", &group.name];
        let known = hbs.get(&path, &[]).await?;
        let mut spec = match &known {
            Some(known) => known["spec"].clone(),
            None => json!({}),
        };
        let described = spec["description"].as_str().unwrap_or("").starts_with(HostGroup::MARK);
        if known.is_some() && !described {
            self.left.push(format!("host group {}, which was not imported", group.name));
            return Ok(());
        }
        // What an operator added since stays.
        let before = spec.clone();
        let mut checks = spec["checks"].as_array().cloned().unwrap_or_default();
        for check in &group.checks {
            let check = serde_json::to_value(check)?;
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
        if !checks.is_empty() {
            spec["checks"] = Value::Array(checks);
        }
        spec["description"] = json!(group.description);
        if known.is_some() && spec == before {
            self.host_groups.unchanged += 1;
        } else {
            hbs.change(Method::PUT, &path, spec.to_string()).await?;
            let count = if known.is_some() {
                &mut self.host_groups.changed
            } else {
                &mut self.host_groups.created
            };
            *count += 1;
        }
        self.members(hbs, group).await
    }

    async fn members(&mut self, hbs: &Api, group: &HostGroup) -> anyhow::Result<()> {
        let listed = hbs.pages(&["groups", &group.name, "hosts"], "hosts").await?;
        let is_own = |host: &&Value| host["group"] == group.name.as_str();
        let there: BTreeSet<&str> =
            listed.iter().filter(is_own).filter_map(|host| host["host"].as_str()).collect();
        let missing: Vec<&String> =
            group.members.iter().filter(|host| !there.contains(host.as_str())).collect();
        for part in missing.chunks(MEMBERS_PER_CHANGE) {
            let body = json!({ "add": part }).to_string();
            hbs.change(Method::POST, &["groups", &group.name, "members"], body).await?;
            self.members_added += part.len();
        }
        Ok(())
    }

    async fn maintenance(&mut self, hbs: &Api, portal: &Portal) -> anyhow::Result<()> {
        let windows = portal.maintenance_after(Clock::System.now().seconds());
        if windows.is_empty() {
            return Ok(());
        }
        let known = hbs.get(&["maintenance"], &[]).await?.unwrap_or_default();
        let known = known["maintenance"].as_array().cloned().unwrap_or_default();
        for (host, start, end) in windows {
            let ends_at = Timestamp::from_seconds(end).rfc3339();
            let is_there =
                |window: &Value| window["host"] == host && window["ends_at"] == ends_at.as_str();
            if known.iter().any(is_there) {
                continue;
            }
            let body =
                json!({ "host": host, "start": start, "end": end, "reason": MAINTENANCE_REASON });
            match hbs.change(Method::POST, &["maintenance"], body.to_string()).await {
                Ok(_) => self.maintenance_added += 1,
                Err(error) => self.left.push(format!("maintenance of {host}: {error:#}")),
            }
        }
        Ok(())
    }

    async fn rules(&mut self, judge: &Api, import: &Import, prune: bool) -> anyhow::Result<()> {
        let listed = judge.get(&["rule-groups"], &[]).await?.unwrap_or_default();
        let stored = listed["data"].as_array().cloned().unwrap_or_default();
        let groups: Vec<_> = import.files.iter().flat_map(|file| &file.groups).collect();
        for (done, group) in groups.iter().enumerate() {
            if done > 0 && done.is_multiple_of(100) {
                eprintln!("rule groups: {done} of {}", groups.len());
            }
            let known = stored.iter().find(|known| known["name"] == group.name.as_str());
            if known.is_some_and(|known| known["body"] == group.body.as_str()) {
                self.rule_groups.unchanged += 1;
                continue;
            }
            let path = ["rule-groups", &group.name];
            let put = judge.change(Method::PUT, &path, group.body.clone()).await;
            put.with_context(|| format!("bring rule group {} into judge", group.name))?;
            let count = if known.is_some() {
                &mut self.rule_groups.changed
            } else {
                &mut self.rule_groups.created
            };
            *count += 1;
        }
        let names = stored.iter().filter_map(|known| known["name"].as_str());
        let is_stale = |name: &&str| {
            name.starts_with(RULE_GROUP_PREFIX) && !groups.iter().any(|group| group.name == **name)
        };
        for name in names.filter(is_stale) {
            if prune {
                judge.change(Method::DELETE, &["rule-groups", name], String::new()).await?;
                self.removed += 1;
            } else {
                self.stale.push(name.to_owned());
            }
        }
        Ok(())
    }
}

/// One of the services.
struct Api {
    http: Client,
    base: String,
    token: Option<String>,
}

impl Api {
    fn url(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut url =
            Url::parse(&self.base).with_context(|| format!("{:?} is no address", self.base))?;
        let mut segments = url.path_segments_mut().ok().context("the address takes no path")?;
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(url)
    }

    /// What there is; `None` when there is nothing of the name.
    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Option<Value>> {
        let url = self.url(path)?;
        let answer = self.http.get(url.clone()).query(query).send().await;
        let answer = answer.with_context(|| format!("ask {url}"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("read the answer of {url}"))?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        match serde_json::from_str(&text) {
            Ok(value) if status.is_success() => Ok(Some(value)),
            _ => bail!("{url} answers {status}: {}", text.trim()),
        }
    }

    async fn change(&self, method: Method, path: &[&str], body: String) -> anyhow::Result<()> {
        let url = self.url(path)?;
        let mut request = self.http.request(method, url.clone()).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.with_context(|| format!("ask {url}"))?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.unwrap_or_default();
            bail!("{url} answers {status}: {}", text.trim());
        }
        Ok(())
    }

    /// All pages of a list.
    async fn pages(&self, path: &[&str], list: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = [("after", after.as_str()), ("limit", "1000")];
            let mut page = self.get(path, &page).await?.unwrap_or_default();
            if let Value::Array(found) = page[list].take() {
                all.extend(found);
            }
            let Some(next) = page["next_after"].as_str() else { return Ok(all) };
            after = next.to_owned();
        }
    }
}
