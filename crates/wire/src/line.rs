//! The lines of Open-Falcon's socket, `update <endpoint> <metric> <ts> <value> [type] [step]`, and
//! OpenTSDB's `put` beside them.

use model::{Series, Timestamp};

use crate::falcon_json::{FalconSample, SampleFault, Unchecked};
use crate::opentsdb::{self, PointFault};

/// The type of a line that names none, as in the original.
const DEFAULT_TYPE: &str = "COUNTER";
/// The step of a line that names none, in seconds.
const DEFAULT_STEP: i64 = 60;

/// What a line says.
#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    /// A sample in Open-Falcon's words.
    Update(FalconSample<'a>),
    /// A sample in OpenTSDB's words.
    Put(Series),
    /// The client takes its leave.
    Quit,
    /// Nothing.
    Blank,
}

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineFault {
    /// The first word is none of `update`, `put` and `quit`.
    UnknownCommand,
    /// `update` has too few or too many words.
    Words,
    /// The time is no whole number.
    Timestamp,
    /// The line is no UTF-8.
    NotUtf8,
    /// The line is longer than the reader allows.
    TooLong,
    /// The sample is bad in itself.
    Update(SampleFault),
    /// The point is bad in itself.
    Put(PointFault),
}

impl LineFault {
    /// Those that no other format has, for metrics that start at zero.
    pub const OWN: [Self; 5] =
        [Self::UnknownCommand, Self::Words, Self::Timestamp, Self::NotUtf8, Self::TooLong];

    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCommand => "line_command",
            Self::Words => "line_words",
            Self::Timestamp => "line_timestamp",
            Self::NotUtf8 => "line_not_utf8",
            Self::TooLong => "line_too_long",
            Self::Update(fault) => fault.as_str(),
            Self::Put(fault) => fault.as_str(),
        }
    }
}

/// Reads a line without its end; it arrived at `now`.
pub fn parse(line: &[u8], now: Timestamp) -> Result<Command<'_>, LineFault> {
    let line = str::from_utf8(line).map_err(|_| LineFault::NotUtf8)?.trim();
    let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match command {
        "" => Ok(Command::Blank),
        "update" => update(rest, now).map(Command::Update),
        "put" => opentsdb::parse_put(rest, now).map(Command::Put).map_err(LineFault::Put),
        "quit" | "exit" => Ok(Command::Quit),
        _ => Err(LineFault::UnknownCommand),
    }
}

fn update(rest: &str, now: Timestamp) -> Result<FalconSample<'_>, LineFault> {
    let mut words = rest.split_ascii_whitespace();
    let mut next = || words.next().ok_or(LineFault::Words);
    let (endpoint, metric, timestamp, value) = (next()?, next()?, next()?, next()?);
    let counter_type = words.next().unwrap_or(DEFAULT_TYPE);
    let step = words.next().map_or(Some(DEFAULT_STEP), read_step);
    if words.next().is_some() {
        return Err(LineFault::Words);
    }
    let unchecked = Unchecked {
        endpoint: endpoint.into(),
        metric: metric.into(),
        counter_type: counter_type.into(),
        tags: "".into(),
        // 0 is refused as any other bad step.
        step: step.unwrap_or(0),
        timestamp: timestamp.parse().map_err(|_| LineFault::Timestamp)?,
        value: value.parse().ok(),
    };
    unchecked.check(now).map_err(LineFault::Update)
}

/// Seconds, or RRD's `heartbeat:min:max:step` of which the last part counts.
fn read_step(word: &str) -> Option<i64> {
    word.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::falcon_json::CounterType;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn check(line: &str, counter_type: CounterType, step: i64) {
        let command = parse(line.as_bytes(), NOW).expect("the line is good");
        let Command::Update(sample) = command else { panic!("{line} is an update") };
        assert_eq!(
            (sample.endpoint.as_ref(), sample.metric.as_ref()),
            ("pay-api-03", "qps"),
            "{line}"
        );
        assert_eq!(
            (sample.value, sample.timestamp),
            (120.0, Timestamp::from_seconds(1_760_000_400)),
            "{line}"
        );
        assert_eq!((sample.counter_type, sample.step), (counter_type, step), "{line}");
    }

    #[test]
    fn type_and_step_may_be_left_out() {
        check("update pay-api-03 qps 1760000400 120 GAUGE 30", CounterType::Gauge, 30);
        check("update  pay-api-03\tqps 1760000400 120 DERIVE\r", CounterType::Derive, 60);
        check("update pay-api-03 qps 1760000400 120", CounterType::Counter, 60);
        check("update pay-api-03 qps 1760000400 120 GAUGE 120:U:U:10", CounterType::Gauge, 10);
    }

    #[test]
    fn every_fault_has_its_word() {
        for (line, word) in [
            ("hello", "line_command"),
            ("UPDATE a b 1 2", "line_command"),
            ("update a b 1", "line_words"),
            ("update a b 1 2 GAUGE 60 more", "line_words"),
            ("update a b 1.5 2", "line_timestamp"),
            ("update a b 1 x", "value"),
            ("update a b 1 2 gauge", "counter_type"),
            ("update a b 1 2 GAUGE 0", "step"),
            ("update a kernel.hostname 1 2", "kernel_hostname"),
            ("put a", "opentsdb_words"),
        ] {
            assert_eq!(parse(line.as_bytes(), NOW).expect_err(line).as_str(), word, "{line}");
        }
        assert_eq!(parse(b"update \xff", NOW), Err(LineFault::NotUtf8));
    }

    #[test]
    fn the_other_commands_are_read() {
        assert_eq!(parse(b" \r", NOW), Ok(Command::Blank));
        assert_eq!(parse(b"quit", NOW), Ok(Command::Quit));
        assert!(matches!(parse(b"put sys.cpu 1760000400 1 host=a", NOW), Ok(Command::Put(_))));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(bytes: Vec<u8>, text in "(update|put) [a-z0-9.:= \t]{0,40}") {
            let _ = parse(&bytes, NOW);
            let _ = parse(text.as_bytes(), NOW);
        }

        #[test]
        fn a_written_line_reads_back(endpoint in "[a-z0-9.-]{1,12}", metric in "[a-z.]{1,12}", value: f64) {
            let line = format!("update {endpoint} {metric} 1760000400 {value} GAUGE 10");
            let command = parse(line.as_bytes(), NOW);
            let Ok(Command::Update(sample)) = command else { return Err(TestCaseError::fail(line)) };
            prop_assert_eq!((sample.endpoint.as_ref(), sample.metric.as_ref()), (&*endpoint, &*metric));
            prop_assert!(sample.value.to_bits() == value.to_bits() || value.is_nan());
        }
    }
}
