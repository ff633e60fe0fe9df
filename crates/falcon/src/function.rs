//! The functions of rules, as `all(#3)`.

/// What a rule asks of the last points of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// All of the last `points` hold.
    All { points: i64 },
    /// The greatest of them holds.
    Max { points: i64 },
    /// The least of them holds.
    Min { points: i64 },
    /// Their sum holds.
    Sum { points: i64 },
    /// Their mean holds.
    Avg { points: i64 },
    /// `hits` of them hold.
    Lookup { hits: i64, points: i64 },
    /// The newest minus one of the `points` before it holds.
    Diff { points: i64 },
    /// The same as a percentage of the older one.
    PDiff { points: i64 },
    /// The newest is more standard deviations from the mean than the threshold.
    StdDev { points: i64 },
    /// Each of the last `points` minus each of the `before` in front of them holds.
    KDiff { before: i64, points: i64 },
}

/// Rules over more points than this are refused: the original never kept more than a few dozen.
const POINTS_MAX: i64 = 1000;
/// Functions that become one comparison a point.
const CHAIN_MAX: i64 = 100;

impl Function {
    /// Reads `all(#3)`; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (name, arguments) = compact
            .strip_suffix(')')
            .and_then(|text| text.split_once("(#"))
            .ok_or_else(|| format!("{text:?} is no function such as all(#3)"))?;
        let numbers: Vec<i64> = arguments
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| format!("{text:?} has arguments that are no numbers"))?;
        if numbers.iter().any(|number| !(1..=POINTS_MAX).contains(number)) {
            return Err(format!("{text:?} looks at less than 1 or more than {POINTS_MAX} points"));
        }
        let function = match (name, numbers.as_slice()) {
            ("all", &[points]) => Self::All { points },
            ("max", &[points]) => Self::Max { points },
            ("min", &[points]) => Self::Min { points },
            ("sum", &[points]) => Self::Sum { points },
            ("avg", &[points]) => Self::Avg { points },
            ("lookup", &[hits, points]) => Self::Lookup { hits, points },
            ("diff", &[points]) => Self::Diff { points },
            ("pdiff", &[points]) => Self::PDiff { points },
            ("stddev", &[points]) => Self::StdDev { points },
            ("kdiff", &[before, points]) => Self::KDiff { before, points },
            ("kpdiff", _) => return Err("kpdiff has no counterpart in PromQL".to_owned()),
            _ => return Err(format!("{text:?} is no function that judge knows")),
        };
        match function {
            Self::Diff { points } | Self::PDiff { points } if points > CHAIN_MAX => {
                Err(format!("{text:?} looks at more than {CHAIN_MAX} points"))
            }
            function => Ok(function),
        }
    }

    /// How many values it needs before it decides anything.
    pub(crate) fn needs(self) -> i64 {
        match self {
            Self::All { points }
            | Self::Max { points }
            | Self::Min { points }
            | Self::Sum { points }
            | Self::Avg { points }
            | Self::Lookup { points, .. }
            | Self::StdDev { points } => points,
            Self::Diff { points } | Self::PDiff { points } => points + 1,
            Self::KDiff { before, points } => points + before,
        }
    }
}

/// How a value is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

impl Operator {
    /// Reads it; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "=" | "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "!" => return Err("the operator ! was taken and never fired".to_owned()),
            _ => return Err(format!("{text:?} is no operator")),
        })
    }

    /// As PromQL writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether a value holds, equality with the original's tolerance.
    pub(crate) fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Greater => value > threshold,
            Self::GreaterOrEqual => value >= threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
            Self::Equal => (value - threshold).abs() < 0.0001,
            Self::NotEqual => (value - threshold).abs() > 0.0001,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_function_of_the_original_is_read() {
        for (text, function, needs) in [
            ("all(#3)", Function::All { points: 3 }, 3),
            ("max( #2 )", Function::Max { points: 2 }, 2),
            ("min(#2)", Function::Min { points: 2 }, 2),
            ("sum(#2)", Function::Sum { points: 2 }, 2),
            ("avg(#2)", Function::Avg { points: 2 }, 2),
            ("lookup(#2,3)", Function::Lookup { hits: 2, points: 3 }, 3),
            ("diff(#5)", Function::Diff { points: 5 }, 6),
            ("pdiff(#5)", Function::PDiff { points: 5 }, 6),
            ("stddev(#10)", Function::StdDev { points: 10 }, 10),
            ("kdiff(#2, 3)", Function::KDiff { before: 2, points: 3 }, 5),
        ] {
            let read = Function::parse(text);
            assert_eq!((read.clone(), read.map(Function::needs)), (Ok(function), Ok(needs)));
        }
    }

    #[test]
    fn what_the_original_never_fired_for_is_refused_with_a_reason() {
        for (text, reason) in [
            ("all(3)", "is no function such as all(#3)"),
            ("all(#x)", "no numbers"),
            ("all(#0)", "less than 1"),
            ("lookup(#1,#2)", "no numbers"),
            ("any(#2)", "is no function that judge knows"),
            ("kpdiff(#1,2)", "no counterpart"),
            ("diff(#500)", "more than 100"),
            ("", "is no function"),
        ] {
            let error = Function::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Operator::parse("!").unwrap_err().contains("never fired"));
        assert!(Operator::parse("=>").is_err());
    }

    #[test]
    fn equality_has_the_tolerance_of_the_original() {
        assert!(Operator::Equal.holds(1.00005, 1.0) && !Operator::NotEqual.holds(1.00005, 1.0));
        assert!(!Operator::Equal.holds(1.001, 1.0) && Operator::NotEqual.holds(1.001, 1.0));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z]{0,7}\\(?#?[0-9,# -]{0,24}\\)?") {
            let _ = Function::parse(&text);
            let _ = Operator::parse(&text);
        }
    }
}
