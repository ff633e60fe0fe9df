//! Per-person mutes: who shall not hear of what for a while. Only that person is left out; all others are told.

use std::collections::HashMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// The shortest mute in seconds.
pub const SECONDS_MIN: u64 = 60;
/// The longest mute in seconds: thirty days.
pub const SECONDS_MAX: u64 = 30 * 86_400;

/// What is muted: a metric on one endpoint, or on all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// `None`: on every endpoint.
    pub endpoint: Option<String>,
    /// The metric; of alerts without one the alert's name.
    pub metric: String,
}

impl Subject {
    /// Open-Falcon's counter: `<endpoint>_<metric>` or `<metric>`.
    pub fn counter(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{endpoint}_{}", self.metric),
            None => self.metric.clone(),
        }
    }

    /// The form in signed links: parts that cannot be mistaken for each other's end.
    pub fn joined(&self) -> String {
        format!("{}|{}", self.endpoint.as_deref().unwrap_or(""), self.metric)
    }

    /// Reads [`Subject::joined`] with the scope of a link: `ec` for one endpoint, `mc` for all.
    pub fn parse(joined: &str, scope: &str) -> Option<Self> {
        let (endpoint, metric) = joined.split_once('|')?;
        let endpoint = match scope {
            "ec" => Some(endpoint.to_owned()),
            "mc" => None,
            _ => return None,
        };
        Some(Self { endpoint, metric: metric.to_owned() })
    }

    /// `ec` for one endpoint, `mc` for all.
    pub const fn scope(&self) -> &'static str {
        if self.endpoint.is_some() { "ec" } else { "mc" }
    }
}

/// A mute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Who is not told.
    pub user: String,
    /// Open-Falcon's counter.
    pub counter: String,
    /// What is muted, where it is known. Mutes of older clients have only the counter, in which `a_b` + `c` and
    /// `a` + `b_c` are the same.
    pub subject: Option<Subject>,
    /// When it ends.
    pub until: Timestamp,
    /// Its length in seconds, as it was asked for.
    pub seconds: u64,
    /// Who made it, and where: `alice via link`.
    pub actor: String,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Mute {
    /// A mute of which only the joined name is known, because an older program made it.
    pub fn joined(joined: String, until: Timestamp) -> Self {
        Self {
            user: String::new(),
            counter: joined,
            subject: None,
            until,
            seconds: 0,
            actor: String::new(),
            made_at: Timestamp(0),
        }
    }

    /// Whether it holds for a person and a subject at `now`.
    pub fn holds(&self, user: &str, subject: &Subject, now: Timestamp) -> bool {
        if self.until <= now {
            return false;
        }
        if self.user.is_empty() {
            let is_it = |counter: &str| self.counter == format!("{user}_{counter}");
            return is_it(&subject.counter()) || is_it(&subject.metric);
        }
        if self.user != user {
            return false;
        }
        match &self.subject {
            Some(muted) => {
                muted.metric == subject.metric
                    && (muted.endpoint.is_none() || muted.endpoint == subject.endpoint)
            }
            None => self.counter == subject.counter() || self.counter == subject.metric,
        }
    }
}

/// All mutes in memory, by person. Each entry knows its own end, so it ends on time whatever happens to the store
/// and to the next look at it.
#[derive(Debug, Clone, Default)]
pub struct Mutes {
    by_user: HashMap<String, Vec<Mute>>,
}

impl Mutes {
    /// Those that the store has now. What it does not have any more is gone.
    pub fn of(mutes: impl IntoIterator<Item = Mute>) -> Self {
        let mut by_user: HashMap<String, Vec<Mute>> = HashMap::new();
        for mute in mutes {
            by_user.entry(mute.user.clone()).or_default().push(mute);
        }
        Self { by_user }
    }

    /// The mute that keeps a person from hearing of a subject.
    pub fn holding(&self, user: &str, subject: &Subject, now: Timestamp) -> Option<&Mute> {
        let lists = [user, ""].into_iter().filter_map(|name| self.by_user.get(name));
        let held = lists.flatten().filter(|mute| mute.holds(user, subject, now));
        held.max_by_key(|mute| mute.until)
    }

    /// All that hold at `now`, by person and counter.
    pub fn live(&self, now: Timestamp) -> Vec<&Mute> {
        let mut live: Vec<&Mute> =
            self.by_user.values().flatten().filter(|mute| mute.until > now).collect();
        live.sort_by(|a, b| (&a.user, &a.counter, a.until).cmp(&(&b.user, &b.counter, b.until)));
        live
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(endpoint: &str, metric: &str) -> Subject {
        let endpoint = (!endpoint.is_empty()).then(|| endpoint.to_owned());
        Subject { endpoint, metric: metric.to_owned() }
    }

    fn mute(user: &str, subject: Option<Subject>, counter: &str) -> Mute {
        Mute {
            user: user.to_owned(),
            counter: counter.to_owned(),
            subject,
            until: Timestamp(10_000),
            seconds: 60,
            actor: user.to_owned(),
            made_at: Timestamp(0),
        }
    }

    #[test]
    fn only_the_person_is_left_out() {
        let mutes =
            Mutes::of([mute("ann", Some(subject("web-03", "cpu.idle")), "web-03_cpu.idle")]);
        let muted = subject("web-03", "cpu.idle");
        assert!(mutes.holding("ann", &muted, Timestamp(1)).is_some());
        assert!(mutes.holding("bob", &muted, Timestamp(1)).is_none());
        assert!(mutes.holding("ann", &subject("web-04", "cpu.idle"), Timestamp(1)).is_none());
        assert!(mutes.holding("ann", &subject("web-03", "df"), Timestamp(1)).is_none());
    }

    #[test]
    fn a_mute_ends_by_itself_on_time() {
        let mutes = Mutes::of([mute("ann", None, "cpu.idle")]);
        let muted = subject("web-03", "cpu.idle");
        assert!(mutes.holding("ann", &muted, Timestamp(9_999)).is_some());
        assert!(mutes.holding("ann", &muted, Timestamp(10_000)).is_none());
        assert!(mutes.live(Timestamp(10_000)).is_empty());
    }

    #[test]
    fn a_metric_is_muted_on_every_endpoint() {
        for by in [mute("ann", Some(subject("", "cpu")), "cpu"), mute("ann", None, "cpu")] {
            assert!(by.holds("ann", &subject("a", "cpu"), Timestamp(1)));
            assert!(by.holds("ann", &subject("b", "cpu"), Timestamp(1)));
            assert!(by.holds("ann", &subject("", "cpu"), Timestamp(1)));
        }
    }

    #[test]
    fn a_counter_that_reads_in_two_ways_mutes_what_was_meant() {
        let (meant, other) = (subject("a_b", "c"), subject("a", "b_c"));
        assert_eq!(meant.counter(), other.counter());
        let exact = mute("ann", Some(meant.clone()), "a_b_c");
        assert!(exact.holds("ann", &meant, Timestamp(1)));
        assert!(!exact.holds("ann", &other, Timestamp(1)));
    }

    #[test]
    fn a_mute_of_an_older_program_holds_by_its_joined_name() {
        let mutes = Mutes::of([Mute::joined("ann_web-03_cpu".to_owned(), Timestamp(10_000))]);
        let muted = subject("web-03", "cpu");
        assert!(mutes.holding("ann", &muted, Timestamp(1)).is_some());
        assert!(mutes.holding("bob", &muted, Timestamp(1)).is_none());
        let everywhere = Mutes::of([Mute::joined("ann_cpu".to_owned(), Timestamp(10_000))]);
        assert!(everywhere.holding("ann", &muted, Timestamp(1)).is_some());
    }

    proptest! {
        #[test]
        fn a_subject_survives_the_link(endpoint in "[^|]{0,20}", metric in ".{0,20}") {
            for subject in [subject(&endpoint, &metric), subject("", &metric)] {
                let read = Subject::parse(&subject.joined(), subject.scope());
                prop_assert_eq!(read, Some(subject));
            }
        }
    }
}
