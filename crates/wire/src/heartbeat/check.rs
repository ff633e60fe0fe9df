//! Checks: things to look at on a host besides its tables, under the names and tags that Open-Falcon's
//! strategies give them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

const PORT: &str = "net.port.listen";
const PROC_NUM: &str = "proc.num";
const PROC_CPU: &str = "proc.cpu";
const PROC_MEM: &str = "proc.mem";
const DIRECTORY: &str = "du.bs";
const URL: &str = "url.check.health";

/// Why a metric and its tags are no check.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckError {
    /// The metric is none of those that are checked on demand.
    #[error(
        "{0:?} is no check; there are {PORT}, {PROC_NUM}, {PROC_CPU}, {PROC_MEM}, {DIRECTORY} and {URL}"
    )]
    Metric(String),
    /// The tags do not say what to look at.
    #[error("{metric} takes the tags {expected}, not {tags:?}")]
    Tags {
        /// The metric.
        metric: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        tags: String,
    },
}

/// Something to look at on the host, with the metric it is reported as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Check {
    /// `net.port.listen`, tag `port`: 1 if something listens on the TCP or UDP port, else 0.
    PortListen {
        /// The port.
        port: u16,
    },
    /// `proc.num`, tags `name` and `cmdline`: how many processes match.
    ProcNum(ProcessMatch),
    /// `proc.cpu` and `proc.mem`, tags `name` and `cmdline`: what the processes that match use together.
    ProcUsage(ProcessMatch),
    /// `du.bs`, tag `path`: bytes in a folder, -1 if it cannot be read.
    DirectorySize {
        /// The folder.
        path: String,
    },
    /// `url.check.health`, tags `url`, `timeout` and `src`: 1 if a HEAD request is answered with 200, else 0.
    UrlHealth {
        /// The address.
        url: String,
        /// How long the answer may take, in seconds.
        timeout: u32,
    },
}

/// Which processes are meant. Kernel threads never match.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessMatch {
    /// The name as the kernel has it, cut to 15 bytes; all when it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A part of the command line; all when it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

impl Check {
    /// The check that an Open-Falcon strategy on this metric with these tags means.
    ///
    /// # Errors
    /// When the metric is not checked on demand, or the tags do not say what to look at.
    pub fn of_strategy(metric: &str, tags: &str) -> Result<Self, CheckError> {
        let tags = tags.trim();
        let bad = |metric, expected| CheckError::Tags { metric, expected, tags: tags.to_owned() };
        match metric {
            PORT => {
                let port = tags.strip_prefix("port=").and_then(|port| port.trim().parse().ok());
                port.map(|port| Self::PortListen { port }).ok_or_else(|| bad(PORT, "port=NUMBER"))
            }
            PROC_NUM | PROC_CPU | PROC_MEM => {
                let processes = ProcessMatch::of_tags(tags);
                let processes =
                    processes.ok_or_else(|| bad(PROC_NUM, "name=NAME and/or cmdline=PART"))?;
                let is_count = metric == PROC_NUM;
                Ok(if is_count { Self::ProcNum(processes) } else { Self::ProcUsage(processes) })
            }
            DIRECTORY => {
                let path = tags.strip_prefix("path=").filter(|path| path.starts_with('/'));
                let path = path.ok_or_else(|| bad(DIRECTORY, "path=/FOLDER"))?;
                Ok(Self::DirectorySize { path: path.to_owned() })
            }
            URL => {
                let split =
                    tags.strip_prefix("url=").and_then(|rest| rest.rsplit_once(",timeout="));
                let read =
                    split.and_then(|(url, timeout)| Some((url, timeout.trim().parse().ok()?)));
                let (url, timeout) =
                    read.ok_or_else(|| bad(URL, "url=ADDRESS,timeout=SECONDS in this order"))?;
                Ok(Self::UrlHealth { url: url.to_owned(), timeout })
            }
            _ => Err(CheckError::Metric(metric.chars().take(64).collect())),
        }
    }

    /// The metrics it is reported as, by their Open-Falcon names.
    pub const fn metrics(&self) -> &'static [&'static str] {
        match self {
            Self::PortListen { .. } => &[PORT],
            Self::ProcNum(_) => &[PROC_NUM],
            Self::ProcUsage(_) => &[PROC_CPU, PROC_MEM],
            Self::DirectorySize { .. } => &[DIRECTORY],
            Self::UrlHealth { .. } => &[URL],
        }
    }

    /// The tags of its samples, besides `src` of [`Check::UrlHealth`].
    pub fn tags(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::PortListen { port } => vec![("port", port.to_string())],
            Self::ProcNum(processes) | Self::ProcUsage(processes) => {
                let both = [("name", &processes.name), ("cmdline", &processes.cmdline)];
                let given = both.into_iter().filter(|(_, value)| !value.is_empty());
                given.map(|(tag, value)| (tag, value.clone())).collect()
            }
            Self::DirectorySize { path } => vec![("path", path.clone())],
            Self::UrlHealth { url, timeout } => {
                vec![("url", url.clone()), ("timeout", timeout.to_string())]
            }
        }
    }
}

impl ProcessMatch {
    // A command line may hold commas and equal signs, so it ends where the next tag begins.
    fn of_tags(tags: &str) -> Option<Self> {
        let (name, cmdline) = match tags.strip_prefix("name=") {
            Some(rest) => rest.split_once(",cmdline=").unwrap_or((rest, "")),
            None => {
                let rest = tags.strip_prefix("cmdline=")?;
                rest.rsplit_once(",name=").map_or(("", rest), |(cmdline, name)| (name, cmdline))
            }
        };
        let processes = Self { name: name.trim().to_owned(), cmdline: cmdline.trim().to_owned() };
        (!processes.name.is_empty() || !processes.cmdline.is_empty()).then_some(processes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(metric: &str, tags: &str, expected: Check) {
        assert_eq!(Check::of_strategy(metric, tags), Ok(expected), "{metric}/{tags}");
    }

    fn processes(name: &str, cmdline: &str) -> ProcessMatch {
        ProcessMatch { name: name.into(), cmdline: cmdline.into() }
    }

    #[test]
    fn strategies_of_open_falcon_are_understood() {
        check(PORT, "port=8080", Check::PortListen { port: 8080 });
        check(PROC_NUM, "name=crond", Check::ProcNum(processes("crond", "")));
        check(PROC_NUM, "cmdline=-Xmx=1,b", Check::ProcNum(processes("", "-Xmx=1,b")));
        check(PROC_MEM, "name=java,cmdline=pay", Check::ProcUsage(processes("java", "pay")));
        check(PROC_CPU, "cmdline=pay,name=java", Check::ProcUsage(processes("java", "pay")));
        check(DIRECTORY, "path=/data/logs", Check::DirectorySize { path: "/data/logs".into() });
        let url = Check::UrlHealth { url: "http://a/b?c=d,e".into(), timeout: 3 };
        check(URL, "url=http://a/b?c=d,e,timeout=3", url);
    }

    #[test]
    fn what_does_not_say_what_to_look_at_is_refused_with_what_is_expected() {
        let told =
            |metric, tags| Check::of_strategy(metric, tags).expect_err("no check").to_string();
        assert_eq!(
            told(PORT, "port=70000"),
            "net.port.listen takes the tags port=NUMBER, not \"port=70000\""
        );
        assert!(told(PROC_NUM, "name=").starts_with("proc.num takes the tags name=NAME"));
        assert!(told(DIRECTORY, "path=logs").contains("path=/FOLDER"));
        assert!(told(URL, "timeout=3,url=http://a").contains("in this order"));
        assert!(
            told("cpu.idle", "")
                .starts_with("\"cpu.idle\" is no check; there are net.port.listen,")
        );
    }

    proptest! {
        #[test]
        fn the_tags_of_a_check_read_back_as_the_check(
            name in "[a-z]{1,15}", cmdline in "[a-z -]{0,9}[a-z]", path in "/[a-z/]{0,9}", port: u16, timeout: u32,
        ) {
            for one in [
                Check::PortListen { port },
                Check::ProcNum(processes(&name, &cmdline)),
                Check::ProcNum(processes(&name, "")),
                Check::DirectorySize { path: path.clone() },
                Check::UrlHealth { url: format!("http://{name}{path}"), timeout },
            ] {
                let tags: Vec<String> =
                    one.tags().iter().map(|(tag, value)| format!("{tag}={value}")).collect();
                let trimmed = tags.join(",");
                prop_assume!(trimmed == trimmed.trim());
                let read = Check::of_strategy(one.metrics()[0], &trimmed);
                prop_assert_eq!(read.map(|check| check.tags().len()), Ok(one.tags().len()));
            }
        }

        #[test]
        fn no_tags_make_it_panic(tags in ".{0,40}") {
            for metric in [PORT, PROC_NUM, PROC_CPU, DIRECTORY, URL, "x"] {
                let _ = Check::of_strategy(metric, &tags);
            }
        }
    }
}
