//! What the label `severity` means: how urgent an alert is, how it is sorted, queued and drawn.

use model::Labels;

/// The label that says how urgent an alert is.
pub(crate) const SEVERITY: &str = "severity";

/// How urgent an alert is, most urgent first. The number is the sort key in the store and the priority of the
/// queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Severity {
    /// Wakes somebody: `critical`, `page`, `P0`, and Open-Falcon's phone level `P9`.
    Critical,
    /// Broken, but not burning: `error`, `P1`.
    Error,
    /// Will break: `warning`, `P2`. Also everything without a severity or with one we do not know, so that a
    /// misspelt label never sinks to the bottom of the list.
    Warning,
    /// Worth a look: `minor`, `P3`.
    Minor,
    /// For the record: `info`, `P4`.
    Info,
    /// Less than that: `trivial`, `P5`.
    Trivial,
    /// Least of all: `debug`, `none`, `P6` and below.
    Debug,
}

impl Severity {
    /// All of them, most urgent first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Minor,
        Self::Info,
        Self::Trivial,
        Self::Debug,
    ];

    /// The severity of an alert with these labels.
    pub(crate) fn of(labels: &Labels) -> Self {
        let text = labels.get(SEVERITY).unwrap_or("").to_ascii_lowercase();
        match text.as_str() {
            "critical" | "crit" | "fatal" | "emergency" | "disaster" | "page" | "p0" | "p9" => {
                Self::Critical
            }
            "error" | "err" | "major" | "high" | "p1" => Self::Error,
            "minor" | "low" | "notice" | "p3" => Self::Minor,
            "info" | "information" | "p4" => Self::Info,
            "trivial" | "p5" => Self::Trivial,
            "debug" | "none" | "p6" | "p7" | "p8" => Self::Debug,
            _ => Self::Warning,
        }
    }

    /// 0 for the most urgent.
    pub(crate) const fn rank(self) -> u8 {
        self as u8
    }

    /// The severity with this rank; a rank beyond the last is the last.
    pub(crate) fn from_rank(rank: u8) -> Self {
        Self::ALL.get(usize::from(rank)).copied().unwrap_or(Self::Debug)
    }

    /// The word in addresses, metrics, style sheets and catalogues.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Info => "info",
            Self::Trivial => "trivial",
            Self::Debug => "debug",
        }
    }

    /// The word of its colour and shape: what is for the record looks alike.
    pub(crate) const fn tone(self) -> &'static str {
        match self {
            Self::Trivial | Self::Debug => Self::Info.as_str(),
            other => other.as_str(),
        }
    }

    /// The severity with this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Severity {
        Severity::of(&Labels::from_pairs([(SEVERITY, text)]))
    }

    #[test]
    fn words_of_prometheus_and_levels_of_open_falcon_mean_the_same() {
        assert_eq!(of("critical"), of("P0"));
        assert_eq!(of("P9"), Severity::Critical);
        assert_eq!(of("Warning"), of("p2"));
        assert_eq!((of("none"), of("p8")), (Severity::Debug, Severity::Debug));
    }

    #[test]
    fn each_level_of_open_falcon_has_a_rank_of_its_own() {
        let ranks: Vec<u8> = (0..=6).map(|level| of(&format!("P{level}")).rank()).collect();
        assert_eq!(ranks, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(of("P9").rank(), 0, "the level that rings");
    }

    #[test]
    fn an_unknown_or_missing_severity_does_not_sink_to_the_bottom() {
        assert_eq!(of("critcal"), Severity::Warning);
        assert_eq!(Severity::of(&Labels::empty()), Severity::Warning);
    }

    #[test]
    fn word_and_rank_read_back() {
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
            assert_eq!(Severity::from_rank(severity.rank()), severity);
        }
        assert_eq!(Severity::from_rank(200), Severity::Debug);
        assert_eq!(Severity::parse("Critical"), None);
    }
}
