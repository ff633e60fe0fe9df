//! Silences: alerts that nobody is told of for a while. Pure; `alerting.md` 3.6 has the rules.
//!
//! Unlike Alertmanager's they hold back beginnings and repeats only: who was told that an alert fires is told
//! that it ended, silenced or not. What was held back is told when the silence ends, if it still fires.

use std::time::Duration;

use model::{Labels, MatchOp, Matcher, Timestamp};
use thiserror::Error;
use wire::silence::{
    GettableSilence, PostableSilence, SilenceMatcher, SilenceState, SilenceStatus,
};

use crate::matchers::matchers_all;

const MATCHERS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;
const AUTHOR_CHARS_MAX: usize = 190;

/// Why a silence is refused.
#[derive(Debug, PartialEq, Error)]
pub(crate) enum SilenceFault {
    /// It would never hold.
    #[error("startsAt must be before endsAt")]
    Reversed,
    /// It would be over already.
    #[error("endsAt is in the past")]
    InThePast,
    /// It would silence everything.
    #[error(
        "at least one matcher must not match an empty value: this one would silence everything"
    )]
    MatchesEverything,
    /// There are no matchers, or too many.
    #[error("a silence has 1 to {MATCHERS_MAX} matchers")]
    Matchers,
    /// A matcher cannot be read.
    #[error("matcher {name:?}: {fault}")]
    Matcher {
        /// The label it names.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// A text is too long.
    #[error("{0} is longer than {1}")]
    TooLong(&'static str, &'static str),
    /// The span is none.
    #[error("endsWithAlert: {0:?} is no span of time; write one such as 10m")]
    EndsWithAlert(String),
    /// The one to change is not there.
    #[error("silence {0:?} is not known")]
    Unknown(String),
    /// There is no room.
    #[error("there are {0} silences, the limit alarm.silences_max; expire some")]
    TooMany(usize),
}

/// A silence, ready to match.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    pub(crate) id: String,
    written: Vec<SilenceMatcher>,
    matchers: Vec<Matcher>,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) comment: String,
    /// How long after the last alert it held for was resolved it ends by itself; it does not without, or with zero.
    pub(crate) ends_after: Option<Duration>,
}

impl Silence {
    /// A silence with these matchers; its times and texts are not judged.
    pub(crate) fn read(posted: PostableSilence, now: Timestamp) -> Result<Self, SilenceFault> {
        let PostableSilence { id, matchers, starts_at, ends_at, created_by, comment, .. } = posted;
        let span = |text: &str| {
            let fault = || SilenceFault::EndsWithAlert(text.chars().take(64).collect());
            model::parse_duration(text).map_err(|_| fault())
        };
        let ends_after = posted.ends_with_alert.as_deref().map(span).transpose()?;
        if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
            return Err(SilenceFault::Matchers);
        }
        let read = |matcher: &SilenceMatcher| {
            if matcher.name.is_empty()
                || matcher.name.len().max(matcher.value.len()) > TEXT_BYTES_MAX
            {
                return Err(SilenceFault::TooLong(
                    "the name or value of a matcher",
                    "4096 bytes or empty",
                ));
            }
            let fault = |fault: model::MatcherError| SilenceFault::Matcher {
                name: matcher.name.clone(),
                fault: fault.to_string(),
            };
            matcher.read().map_err(fault)
        };
        let read: Vec<Matcher> = matchers.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            id: id.unwrap_or_default(),
            written: matchers,
            matchers: read,
            starts_at,
            ends_at,
            updated_at: now,
            created_by,
            comment,
            ends_after,
        })
    }

    /// Where it stands.
    pub(crate) fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now > self.ends_at {
            SilenceState::Expired
        } else {
            SilenceState::Active
        }
    }

    /// Its matchers.
    pub(crate) fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether it is about an alert with these labels, whenever it holds.
    pub(crate) fn is_for(&self, labels: &Labels) -> bool {
        matchers_all(&self.matchers, labels)
    }

    /// Whether it holds for an alert with these labels now.
    pub(crate) fn holds(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active && self.is_for(labels)
    }

    /// How long after the last alert it held for was resolved it ends by itself, if it does.
    pub(crate) fn ends_after(&self) -> Option<Duration> {
        self.ends_after.filter(|span| !span.is_zero())
    }

    /// Its matchers as JSON, for the store.
    pub(crate) fn matchers_text(&self) -> String {
        serde_json::to_string(&self.written).expect("names and values are plain JSON")
    }

    /// Its listed form.
    pub(crate) fn listed(&self, now: Timestamp) -> GettableSilence {
        GettableSilence {
            id: self.id.clone(),
            status: SilenceStatus { state: self.state(now) },
            updated_at: self.updated_at,
            matchers: self.written.clone(),
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            created_by: self.created_by.clone(),
            comment: self.comment.clone(),
            ends_with_alert: self.ends_after().map(model::format_duration),
        }
    }

    /// Whether every one of these matchers is among its own, letter for letter: what a list is narrowed by. What
    /// is found so is often ended next, and then nothing else must be among it.
    pub(crate) fn is_about(&self, filter: &[Matcher]) -> bool {
        let is = |own: &Matcher, wanted: &Matcher| {
            own.op == wanted.op && own.name == wanted.name && own.value == wanted.value
        };
        filter.iter().all(|wanted| self.matchers.iter().any(|own| is(own, wanted)))
    }

    fn check(&self, now: Timestamp) -> Result<(), SilenceFault> {
        if self.starts_at >= self.ends_at {
            return Err(SilenceFault::Reversed);
        }
        if self.ends_at < now {
            return Err(SilenceFault::InThePast);
        }
        if self.matchers.iter().all(wants_nothing) {
            return Err(SilenceFault::MatchesEverything);
        }
        if self.created_by.chars().count() > AUTHOR_CHARS_MAX {
            return Err(SilenceFault::TooLong("createdBy", "190 characters"));
        }
        if self.comment.len() > TEXT_BYTES_MAX {
            return Err(SilenceFault::TooLong("comment", "4096 bytes"));
        }
        Ok(())
    }
}

/// Whether a matcher asks nothing of an alert. One that says what a label is *not* asks something, though it takes
/// alerts without the label: with `severity!="critical"` all but those are silenced.
fn wants_nothing(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::Equal | MatchOp::Regex) && matcher.matches_empty()
}

/// What a post changes: the silences to store, the one that holds from now on last.
///
/// A known silence is changed in place if that does not rewrite what has been; otherwise it is ended and
/// the posted one becomes a new silence with `new_id`.
pub(crate) fn change(
    known: &[Silence],
    mut posted: Silence,
    new_id: String,
    silences_max: usize,
    now: Timestamp,
) -> Result<Vec<Silence>, SilenceFault> {
    posted.check(now)?;
    let mut changed = Vec::new();
    if !posted.id.is_empty() {
        let old = known.iter().find(|silence| silence.id == posted.id);
        let old = old.ok_or_else(|| SilenceFault::Unknown(posted.id.clone()))?;
        // Clients of Alertmanager do not know the field, and must not drop it by a change of something else.
        posted.ends_after = posted.ends_after.or(old.ends_after);
        if may_change(old, &posted, now) {
            return Ok(vec![posted]);
        }
        changed.extend(expire(old, now));
    }
    if known.len() >= silences_max {
        return Err(SilenceFault::TooMany(known.len()));
    }
    posted.id = new_id;
    posted.starts_at = posted.starts_at.max(now);
    changed.push(posted);
    Ok(changed)
}

fn may_change(old: &Silence, new: &Silence, now: Timestamp) -> bool {
    let seconds = |at: Timestamp| at.0.div_euclid(1000);
    old.written == new.written
        && match old.state(now) {
            SilenceState::Active => {
                seconds(old.starts_at) == seconds(new.starts_at) && new.ends_at >= now
            }
            SilenceState::Pending => new.starts_at >= now,
            SilenceState::Expired => false,
        }
}

/// The silence ended at `now`; nothing when it is over already.
pub(crate) fn expire(silence: &Silence, now: Timestamp) -> Option<Silence> {
    let ended = |starts_at| Silence { starts_at, ends_at: now, updated_at: now, ..silence.clone() };
    match silence.state(now) {
        SilenceState::Active => Some(ended(silence.starts_at)),
        SilenceState::Pending => Some(ended(now)),
        SilenceState::Expired => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::matchers::parse_matcher;

    const NOW: Timestamp = Timestamp(1_760_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    pub(crate) fn matcher(name: &str, value: &str, is_regex: bool) -> SilenceMatcher {
        SilenceMatcher { name: name.into(), value: value.into(), is_regex, is_equal: true }
    }

    pub(crate) fn silence(id: &str, matchers: Vec<SilenceMatcher>, from: Timestamp) -> Silence {
        let posted = PostableSilence {
            id: Some(id.to_owned()),
            matchers,
            starts_at: from,
            ends_at: from.plus(HOUR),
            created_by: "ann".into(),
            comment: "works".into(),
            ends_with_alert: None,
        };
        Silence::read(posted, from).unwrap()
    }

    fn about_disks(id: &str, from: Timestamp) -> Silence {
        silence(id, vec![matcher("alertname", "Disk.*", true)], from)
    }

    fn changed(
        known: &[Silence],
        posted: Silence,
        now: Timestamp,
    ) -> Result<Vec<Silence>, SilenceFault> {
        change(known, posted, "new".into(), 3, now)
    }

    #[test]
    fn it_holds_from_its_start_up_to_and_including_its_end() {
        let silence = about_disks("a", NOW);
        let labels = Labels::from_pairs([("alertname", "DiskFull")]);
        assert!(!silence.holds(&labels, NOW.minus(Duration::from_millis(1))));
        assert!(silence.holds(&labels, NOW) && silence.holds(&labels, NOW.plus(HOUR)));
        assert!(!silence.holds(&labels, NOW.plus(HOUR + Duration::from_millis(1))));
        assert!(!silence.holds(&Labels::from_pairs([("alertname", "LoadHigh")]), NOW));
    }

    #[test]
    fn a_new_one_begins_now_at_the_earliest() {
        let posted = about_disks("", NOW.minus(HOUR / 2));
        let stored = changed(&[], posted, NOW).unwrap();
        assert_eq!((stored[0].id.as_str(), stored[0].starts_at), ("new", NOW));
    }

    #[test]
    fn an_active_one_is_prolonged_in_place_when_its_start_stays() {
        let old = about_disks("a", NOW);
        let later = NOW.plus(HOUR / 2);
        let longer = Silence { ends_at: NOW.plus(HOUR * 2), ..old.clone() };
        let stored = changed(std::slice::from_ref(&old), longer, later).unwrap();
        assert_eq!((stored.len(), stored[0].id.as_str()), (1, "a"));
        let moved = Silence { starts_at: NOW.plus(HOUR / 4), ..old.clone() };
        let stored = changed(std::slice::from_ref(&old), moved, later).unwrap();
        assert_eq!((stored[0].id.as_str(), stored[0].ends_at), ("a", later));
        assert_eq!((stored[1].id.as_str(), stored[1].starts_at), ("new", later));
    }

    #[test]
    fn a_change_by_a_client_that_does_not_know_that_it_ends_with_its_alert_keeps_that() {
        let old = Silence { ends_after: Some(HOUR), ..about_disks("a", NOW) };
        let longer = Silence { ends_at: NOW.plus(HOUR * 2), ..about_disks("a", NOW) };
        let stored = changed(std::slice::from_ref(&old), longer.clone(), NOW).unwrap();
        assert_eq!((stored[0].id.as_str(), stored[0].ends_after()), ("a", Some(HOUR)));
        let never = Silence { ends_after: Some(Duration::ZERO), ..longer };
        assert_eq!(changed(&[old], never, NOW).unwrap()[0].ends_after(), None);
    }

    #[test]
    fn other_matchers_make_another_silence() {
        let old = about_disks("a", NOW);
        let other = silence("a", vec![matcher("alertname", "Load", false)], NOW);
        let ids: Vec<_> = changed(&[old], other, NOW).unwrap().into_iter().map(|s| s.id).collect();
        assert_eq!(ids, ["a", "new"]);
    }

    #[test]
    fn a_pending_one_may_be_moved_but_not_into_the_past() {
        let old = about_disks("a", NOW.plus(HOUR));
        let sooner = about_disks("a", NOW.plus(HOUR / 2));
        assert_eq!(changed(std::slice::from_ref(&old), sooner, NOW).unwrap()[0].id, "a");
        let past = about_disks("a", NOW.minus(HOUR / 2));
        assert_eq!(changed(&[old], past, NOW).unwrap()[1].id, "new");
    }

    #[test]
    fn an_expired_one_is_not_brought_back_but_made_anew() {
        let old = about_disks("a", NOW.minus(HOUR * 2));
        let again = about_disks("a", NOW);
        let stored = changed(&[old], again, NOW).unwrap();
        assert_eq!((stored.len(), stored[0].id.as_str()), (1, "new"));
    }

    #[test]
    fn ending_twice_ends_once() {
        let silence = about_disks("a", NOW);
        let ended = expire(&silence, NOW.plus(HOUR / 2)).unwrap();
        assert_eq!(ended.state(NOW.plus(HOUR)), SilenceState::Expired);
        assert!(expire(&ended, NOW.plus(HOUR)).is_none());
        let pending = about_disks("b", NOW.plus(HOUR));
        assert_eq!(expire(&pending, NOW).map(|s| (s.starts_at, s.ends_at)), Some((NOW, NOW)));
    }

    #[test]
    fn what_could_do_harm_or_nothing_is_refused_with_the_reason() {
        let fault = |posted: Silence| changed(&[], posted, NOW).unwrap_err();
        let good = about_disks("", NOW);
        assert_eq!(fault(Silence { ends_at: NOW, ..good.clone() }), SilenceFault::Reversed);
        assert_eq!(fault(about_disks("", NOW.minus(HOUR * 2))), SilenceFault::InThePast);
        let all = silence("", vec![matcher("team", ".*", true)], NOW);
        assert_eq!(fault(all), SilenceFault::MatchesEverything);
        assert_eq!(fault(about_disks("gone", NOW)), SilenceFault::Unknown("gone".into()));
        let long = Silence { comment: "x".repeat(5000), ..good.clone() };
        assert_eq!(fault(long), SilenceFault::TooLong("comment", "4096 bytes"));
        let known = vec![good.clone(), good.clone(), good.clone()];
        assert_eq!(changed(&known, good, NOW).unwrap_err(), SilenceFault::TooMany(3));
        let but_for = SilenceMatcher { is_equal: false, ..matcher("severity", "critical", false) };
        let all_but = silence("", vec![but_for], NOW);
        assert_eq!(changed(&[], all_but, NOW).map(|stored| stored.len()), Ok(1));
        let broken = PostableSilence {
            id: None,
            matchers: vec![matcher("a", "(", true)],
            starts_at: NOW,
            ends_at: NOW,
            created_by: String::new(),
            comment: String::new(),
            ends_with_alert: None,
        };
        let spanless = PostableSilence {
            matchers: vec![matcher("a", "b", false)],
            ends_with_alert: Some("soon".to_owned()),
            ..broken.clone()
        };
        assert!(matches!(Silence::read(broken, NOW), Err(SilenceFault::Matcher { .. })));
        let fault = Silence::read(spanless, NOW).unwrap_err();
        assert_eq!(fault, SilenceFault::EndsWithAlert("soon".to_owned()));
    }

    #[test]
    fn a_list_is_narrowed_by_what_the_matchers_name() {
        let not = SilenceMatcher { is_equal: false, ..matcher("host", "a|b", true) };
        let silence = silence("a", vec![matcher("team", "db", false), not], NOW);
        for (filter, is_found) in [
            ("team=db", true),
            ("team=web", false),
            ("nothing=x", false),
            ("host!~a|b", true),
            // Of what it is about, but not what it says: to end what is found so would end too much.
            ("team!=web", false),
            ("team=~d.*", false),
            ("host!~a", false),
        ] {
            let filter = parse_matcher(filter).unwrap();
            assert_eq!(silence.is_about(std::slice::from_ref(&filter)), is_found, "{filter:?}");
        }
    }
}
