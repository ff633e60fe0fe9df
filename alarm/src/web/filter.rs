//! What the list shows, as its address says. Unknown parameters and values are ignored: an old bookmark still
//! works.

use db::alerts::{AlertSearch, AlertStatus};
use form_urlencoded::Serializer;

use crate::severity::Severity;

/// The longest search text in characters.
const TEXT_CHARS_MAX: usize = 200;
/// The longest name of a list.
const LIST_CHARS_MAX: usize = 64;
/// No page lies beyond it; the view says so and asks for a narrower filter.
const PAGES_MAX: u32 = 100;

/// Which states are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum StateChoice {
    /// Firing or stale: what may need somebody.
    #[default]
    Active,
    /// Firing only.
    Firing,
    /// Stale only.
    Stale,
    /// Resolved only.
    Resolved,
    /// Everything.
    All,
}

impl StateChoice {
    pub(crate) const ALL: [Self; 5] =
        [Self::Active, Self::Firing, Self::Stale, Self::Resolved, Self::All];

    /// The word in addresses and catalogues.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Firing => "firing",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
            Self::All => "all",
        }
    }

    /// The states it takes.
    pub(crate) const fn statuses(self) -> &'static [AlertStatus] {
        match self {
            Self::Active => &[AlertStatus::Firing, AlertStatus::Stale],
            Self::Firing => &[AlertStatus::Firing],
            Self::Stale => &[AlertStatus::Stale],
            Self::Resolved => &[AlertStatus::Resolved],
            Self::All => &[AlertStatus::Firing, AlertStatus::Stale, AlertStatus::Resolved],
        }
    }
}

/// The filter and the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Which states.
    pub(crate) state: StateChoice,
    /// Which severities, most urgent first; none means all.
    pub(crate) severities: Vec<Severity>,
    /// Part of a label or text.
    pub(crate) text: String,
    /// The name of a list of alerts, which a link in a message gave.
    pub(crate) list: Option<String>,
    /// From 1 on.
    pub(crate) page: u32,
}

impl Default for Filter {
    fn default() -> Self {
        let (severities, text) = (Vec::new(), String::new());
        Self { state: StateChoice::default(), severities, text, list: None, page: 1 }
    }
}

impl Filter {
    /// Reads the query part of an address.
    pub(crate) fn read(query: &str) -> Self {
        let (mut filter, mut state) = (Self::default(), None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "state" => {
                    state = StateChoice::ALL.into_iter().find(|choice| choice.as_str() == value);
                }
                "sev" => filter.severities.extend(value.split(',').filter_map(Severity::parse)),
                "q" => filter.text = value.trim().chars().take(TEXT_CHARS_MAX).collect(),
                "list" => filter.list = Some(value.into_owned()).filter(|name| is_name(name)),
                "page" => filter.page = value.parse().unwrap_or(1).clamp(1, PAGES_MAX),
                _ => {}
            }
        }
        filter.state = state.unwrap_or(filter.usual_state());
        filter.severities.sort_unstable();
        filter.severities.dedup();
        filter
    }

    /// What is shown unless it is said: of the alerts of a message all, also those that ended meanwhile.
    const fn usual_state(&self) -> StateChoice {
        match self.list {
            Some(_) => StateChoice::All,
            None => StateChoice::Active,
        }
    }

    /// Whether nothing but the default is asked for.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self { page: self.page, ..Self::default() }
    }

    /// The address of this list.
    pub(crate) fn address(&self) -> String {
        let mut query = Serializer::new(String::new());
        if let Some(list) = &self.list {
            query.append_pair("list", list);
        }
        if self.state != self.usual_state() {
            query.append_pair("state", self.state.as_str());
        }
        if !self.severities.is_empty() {
            query.append_pair("sev", &self.severities_text());
        }
        if !self.text.is_empty() {
            query.append_pair("q", &self.text);
        }
        if self.page > 1 {
            query.append_pair("page", &self.page.to_string());
        }
        match query.finish() {
            empty if empty.is_empty() => "/alerts".to_owned(),
            query => format!("/alerts?{query}"),
        }
    }

    /// The severities as `sev=` wants them.
    pub(crate) fn severities_text(&self) -> String {
        self.severities.iter().map(|severity| severity.as_str()).collect::<Vec<_>>().join(",")
    }

    /// The first page of the same list with other states.
    pub(crate) fn with_state(&self, state: StateChoice) -> Self {
        Self { state, page: 1, ..self.clone() }
    }

    /// The first page of the same list with this severity added, or taken out when it is in.
    pub(crate) fn toggled(&self, severity: Severity) -> Self {
        let mut severities = self.severities.clone();
        match severities.iter().position(|chosen| *chosen == severity) {
            Some(position) => drop(severities.remove(position)),
            None => severities.push(severity),
        }
        severities.sort_unstable();
        Self { severities, page: 1, ..self.clone() }
    }

    /// Another page of the same list; `None` beyond the last that is shown.
    pub(crate) fn at_page(&self, page: u32) -> Option<Self> {
        (1..=PAGES_MAX).contains(&page).then(|| Self { page, ..self.clone() })
    }

    /// What the store is asked for.
    pub(crate) fn search(&self) -> AlertSearch {
        AlertSearch {
            statuses: self.state.statuses().to_vec(),
            priorities: self.severities.iter().map(|severity| severity.rank()).collect(),
            text: self.text.clone(),
            among: None,
        }
    }

    /// Whether an alert of this state and priority is in the list, the text left aside.
    pub(crate) fn takes(&self, status: AlertStatus, priority: u8) -> bool {
        self.takes_status(status) && self.takes_priority(priority)
    }

    pub(crate) fn takes_status(&self, status: AlertStatus) -> bool {
        self.state.statuses().contains(&status)
    }

    pub(crate) fn takes_priority(&self, priority: u8) -> bool {
        self.severities.is_empty() || self.severities.contains(&Severity::from_rank(priority))
    }
}

/// Whether it may be the name of a list.
fn is_name(text: &str) -> bool {
    (1..=LIST_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_unknown_is_ignored() {
        let filter = Filter::read("state=gone&sev=critical,catastrophic&page=x&utm=1&q=%20disk%20");
        assert_eq!(filter.state, StateChoice::Active);
        assert_eq!(filter.severities, [Severity::Critical]);
        assert_eq!((filter.text.as_str(), filter.page), ("disk", 1));
    }

    #[test]
    fn of_the_alerts_of_a_message_all_are_shown_unless_it_is_said() {
        let filter = Filter::read("list=0e7374caefbddd45");
        assert_eq!(filter.state, StateChoice::All);
        assert!(!filter.is_default());
        assert_eq!(filter.address(), "/alerts?list=0e7374caefbddd45");
        let firing = filter.with_state(StateChoice::Active);
        assert_eq!(Filter::read(firing.address().split_once('?').unwrap().1), firing);
        for bad in ["list=", "list=../x", "list=%27%20or", &format!("list={}", "a".repeat(65))] {
            assert_eq!(Filter::read(bad), Filter::default(), "{bad}");
        }
    }

    #[test]
    fn a_severity_is_put_in_and_taken_out() {
        let filter = Filter::read("sev=warning&page=3");
        let more = filter.toggled(Severity::Critical);
        assert_eq!(more.address(), "/alerts?sev=critical%2Cwarning");
        assert_eq!(
            more.toggled(Severity::Warning).toggled(Severity::Critical).address(),
            "/alerts"
        );
    }

    #[test]
    fn repeated_boxes_of_a_form_are_read_like_a_list() {
        assert_eq!(Filter::read("sev=info&sev=error&sev=info"), Filter::read("sev=error,info"));
    }

    proptest! {
        #[test]
        fn an_address_reads_back(
            state in 0usize..5, severities in proptest::sample::subsequence(Severity::ALL.to_vec(), 0..5),
            text in "[^\\s]{0,30}", list in proptest::option::of("[0-9a-f]{1,64}"), page in 1u32..100,
        ) {
            let filter = Filter { state: StateChoice::ALL[state], severities, text, list, page };
            let address = filter.address();
            let query = address.split_once('?').map_or("", |(_, query)| query);
            prop_assert_eq!(Filter::read(query), filter);
        }

        #[test]
        fn no_query_makes_the_reader_panic(query in ".{0,60}") {
            let filter = Filter::read(&query);
            prop_assert!(filter.page >= 1);
        }
    }
}
