//! The hosts that a hbs knows, as apiproxy follows them: all of them once, then what changes. Our own message, JSON.
//!
//! `GET /api/v1/host-feed` answers the first page of all hosts, in order of names. While a page of all says
//! `next_after`, the same with `after=NAME` answers the next one. After the last, `epoch` and `revision` of the
//! **first** page, sent back, are answered with the hosts that came, came back or went since; its `revision` goes into
//! the next question. A hbs that cannot tell the changes, because it was started again or the revision is too old,
//! answers the first page of all.
//!
//! Fields are only ever added. Both sides ignore fields they do not know; `format` grows when that is not enough.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// Where hbs answers.
pub const PATH: &str = "/api/v1/host-feed";
/// The format that is described here.
pub const FORMAT: u32 = 1;
/// Most hosts on a page, and as many as come when the question does not say.
pub const PAGE_MAX: usize = 10_000;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedQuestion {
    /// The epoch that `revision` is of; empty for all hosts.
    pub epoch: String,
    /// What is known already.
    pub revision: u64,
    /// Of all hosts, those behind this name; empty for the first page.
    pub after: String,
    /// Hosts wanted, at most [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A page of hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedPage {
    /// [`FORMAT`].
    pub format: u32,
    /// Names the life of this hbs: revisions of another one mean nothing to it.
    pub epoch: String,
    /// How far the answer reaches.
    pub revision: u64,
    /// Whether this is a page of all hosts rather than of changes.
    pub whole: bool,
    /// Hosts that are there: of changes, those that came or came back.
    pub hosts: Vec<FeedHost>,
    /// Hosts that are not there any more, of changes.
    pub gone: Vec<String>,
    /// The last name of this page of all hosts, when there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
    /// Whether there are more changes.
    pub more: bool,
    /// How often hosts are told to send a heartbeat, in milliseconds.
    pub heartbeat_interval_millis: u64,
}

/// A host as hbs sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedHost {
    /// The value of label `endpoint` in its samples.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// Its latest heartbeat, in milliseconds since the epoch.
    pub seen_at: Timestamp,
    /// Whether it has been silent for `hbs.silent_after`.
    pub silent: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_format_1_stay_what_they_are() {
        let host = FeedHost {
            name: "web-01".into(),
            ip: "10.0.0.1".into(),
            seen_at: Timestamp(1_760_000_460_000),
            silent: false,
        };
        let page = FeedPage {
            format: FORMAT,
            epoch: "e".into(),
            revision: 7,
            whole: true,
            hosts: vec![host],
            gone: vec!["old".into()],
            next_after: Some("web-01".into()),
            more: false,
            heartbeat_interval_millis: 30_000,
        };
        let text = concat!(
            r#"{"format":1,"epoch":"e","revision":7,"whole":true,"#,
            r#""hosts":[{"name":"web-01","ip":"10.0.0.1","seen_at":1760000460000,"silent":false}],"#,
            r#""gone":["old"],"next_after":"web-01","more":false,"heartbeat_interval_millis":30000}"#
        );
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
        assert_eq!(serde_json::from_str::<FeedPage>(text).unwrap(), page);
    }

    #[test]
    fn fields_of_other_versions_do_not_matter() {
        let page: FeedPage = serde_json::from_str(r#"{"epoch":"e","more_to_come":[1]}"#).unwrap();
        assert_eq!(page, FeedPage { epoch: "e".into(), ..FeedPage::default() });
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "[\\[\\]{}\":,a0epochs]{0,60}") {
            let _ = serde_json::from_str::<FeedPage>(&body);
        }
    }
}
