//! `saker-agent diagnose`: a folder with all that helps to understand a fault. Secrets stay out of it: the
//! configuration is masked, and of the state that hbs wants neither arguments nor addresses are written.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use daemon::ExitReason;
use serde_json::json;

use super::{ask, configuration, measure, runtime};
use crate::config::layers::{Layered, without_users};
use crate::desired::Store;
use crate::host::system::Identity;
use crate::version::version;

/// Files of the running agent, by the page they are of.
const PAGES: [(&str, &str); 3] =
    [("status.json", crate::status::PATH), ("metrics.txt", "/metrics"), ("ready.txt", "/-/ready")];

/// Writes the folder. Parts that cannot be had say so in their files.
pub(super) fn write(layered: &Layered, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    fs::create_dir(out).with_context(|| format!("make the folder {}", out.display()))?;
    let put = |file: &str, text: &str| {
        fs::write(out.join(file), text)
            .with_context(|| format!("write {file} in {}", out.display()))
    };
    let mut settings = Vec::new();
    configuration::show(layered, false, &mut settings)?;
    put("config.toml", &String::from_utf8_lossy(&settings))?;
    put("host.json", &host(layered))?;
    put("wanted.json", &wanted(layered))?;
    put("spool.txt", &spool(layered))?;
    put("collectors.txt", &collectors(layered))?;
    let runtime = runtime()?;
    for (file, page) in PAGES {
        let text = runtime.block_on(ask::get(&layered.config, page));
        put(file, &without_users(&text.unwrap_or_else(|error| format!("{error:#}\n"))))?;
    }
    let mut stdout = io::stdout().lock();
    if json {
        writeln!(stdout, "{}", json!({ "folder": out }))?;
    } else {
        writeln!(stdout, "wrote {}; look through it before you hand it on", out.display())?;
    }
    Ok(ExitReason::Clean.into())
}

fn host(layered: &Layered) -> String {
    let host = Identity::read(&layered.config.root);
    let host = json!({
        "version": version(), "arch": std::env::consts::ARCH, "hostname": host.hostname,
        "os": host.os, "kernel": host.kernel, "cpus": host.cpus, "memory_bytes": host.memory_bytes,
    });
    format!("{host:#}\n")
}

fn wanted(layered: &Layered) -> String {
    let Some(state) = Store::new(layered.config.data_dir.join("desired.json")).load() else {
        return "hbs has not said anything that was kept\n".to_owned();
    };
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let wanted = json!({
        "hash": state.hash, "labels": state.labels, "tiers": state.tiers, "checks": state.checks.len(),
        "plugins": names(state.plugins.iter().map(|plugin| plugin.path.as_str()).collect()),
        "bundles": names(state.bundles.iter().map(|bundle| bundle.digest.as_str()).collect()),
        "scrapes": names(state.scrapes.iter().map(|scrape| scrape.name.as_str()).collect()),
        "unread": state.unread,
    });
    format!("{wanted:#}\n")
}

fn spool(layered: &Layered) -> String {
    let folder = layered.config.data_dir.join("spool");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => return format!("{}: {error}\n", folder.display()),
    };
    let line = |entry: fs::DirEntry| {
        let bytes = entry.metadata().map_or(0, |found| found.len());
        format!("{bytes:>12} {}\n", entry.file_name().to_string_lossy())
    };
    entries.flatten().map(line).collect()
}

fn collectors(layered: &Layered) -> String {
    match measure::inventory(layered.config.clone()) {
        Ok(inventory) => inventory.to_string(),
        Err(error) => format!("{error:#}\n"),
    }
}
