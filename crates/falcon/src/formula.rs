//! Numerators and denominators of aggregators: `$(cpu.user)+$(cpu.system)`, `($(a)-$(b))>80`, `$#`, `200`.

/// A side of an aggregator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Formula {
    /// How many hosts gave a value.
    Hosts,
    /// A number.
    Constant(i64),
    /// A sum over the hosts.
    Terms(Terms),
}

/// What is computed for each host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// Added or, with true, subtracted in this order; the first is never subtracted.
    pub(crate) counters: Vec<(bool, Counter)>,
    /// 1 or 0 by this comparison, instead of the sum.
    pub(crate) compare: Option<(&'static str, f64)>,
}

/// One series of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counter {
    pub(crate) metric: String,
    /// `k=v,k2=v2`
    pub(crate) tags: String,
}

/// Terms that one side may have.
const TERMS_MAX: usize = 50;
/// The longer of two that begin alike comes first.
const COMPARISONS: [(&str, &str); 6] =
    [(">=", ">="), ("<=", "<="), ("==", "=="), (">", ">"), ("<", "<"), ("=", "==")];

impl Formula {
    /// Reads one side; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if compact == "$#" {
            return Ok(Self::Hosts);
        }
        if let Ok(number) = compact.parse() {
            return Ok(Self::Constant(number));
        }
        let (sum, compare) = match compact.strip_prefix('(') {
            Some(rest) => {
                let fault = || format!("{text:?} has a bracket without a comparison behind it");
                let (sum, rest) = rest.rsplit_once(')').ok_or_else(fault)?;
                (terms(sum, text)?, Some(comparison(rest).ok_or_else(fault)?))
            }
            None => {
                let end = compact.rfind(')').map_or(0, |at| at + 1);
                let (sum, rest) = compact.split_at(end);
                let fault = || format!("{rest:?} is no comparison such as >80");
                let compare = match rest {
                    "" => None,
                    rest => Some(comparison(rest).ok_or_else(fault)?),
                };
                (terms(sum, text)?, compare)
            }
        };
        if compare.is_some() && sum.len() > 1 && !compact.starts_with('(') {
            return Err(format!("{text:?} compares a sum that is not in brackets"));
        }
        Ok(Self::Terms(Terms { counters: sum, compare }))
    }

    /// The series it reads.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counter> {
        let terms = match self {
            Self::Terms(terms) => terms.counters.as_slice(),
            Self::Hosts | Self::Constant(_) => &[],
        };
        terms.iter().map(|(_, counter)| counter)
    }
}

fn comparison(text: &str) -> Option<(&'static str, f64)> {
    let (operator, rest) = COMPARISONS
        .iter()
        .find_map(|(written, operator)| Some((*operator, text.strip_prefix(written)?)))?;
    let threshold = rest.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some((operator, threshold))
}

fn terms(mut rest: &str, whole: &str) -> Result<Vec<(bool, Counter)>, String> {
    let fault = || format!("{whole:?} is no sum of counters such as $(cpu.user)+$(cpu.system)");
    let mut terms = Vec::new();
    let mut is_minus = false;
    loop {
        let (counter, behind) =
            rest.strip_prefix("$(").and_then(|rest| rest.split_once(')')).ok_or_else(fault)?;
        let (metric, tags) = counter.split_once('/').unwrap_or((counter, ""));
        if metric.is_empty() || terms.len() >= TERMS_MAX {
            return Err(fault());
        }
        terms.push((is_minus, Counter { metric: metric.to_owned(), tags: tags.to_owned() }));
        (is_minus, rest) = match behind.split_at_checked(1) {
            None => return Ok(terms),
            Some(("+", rest)) => (false, rest),
            Some(("-", rest)) => (true, rest),
            Some(_) => return Err(fault()),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        let formula = match Formula::parse(text) {
            Ok(formula) => formula,
            Err(error) => return error,
        };
        match &formula {
            Formula::Hosts => "hosts".to_owned(),
            Formula::Constant(number) => number.to_string(),
            Formula::Terms(terms) => {
                let sign = |minus: bool| if minus { "-" } else { "+" };
                let one = |(minus, counter): &(bool, Counter)| {
                    format!("{}{}/{}", sign(*minus), counter.metric, counter.tags)
                };
                let sum: String = terms.counters.iter().map(one).collect();
                format!("{sum} {:?}", terms.compare)
            }
        }
    }

    #[test]
    fn every_form_of_the_original_is_read() {
        for (text, expected) in [
            ("$#", "hosts"),
            ("200", "200"),
            ("$(cpu.idle)", "+cpu.idle/ None"),
            ("$(a) + $(b/k=v,l=w) - $(c)", "+a/+b/k=v,l=w-c/ None"),
            ("$(cpu.busy)>=80", "+cpu.busy/ Some((\">=\", 80.0))"),
            ("($(a)+$(b)-$(c))>80.5", "+a/+b/-c/ Some((\">\", 80.5))"),
            ("$(du.bs/path=/data)", "+du.bs/path=/data None"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_original_refused_is_refused() {
        for (text, reason) in [
            ("", "no sum of counters"),
            ("$(a)*2", "no comparison"),
            ("$(a)/$(b)", "no sum of counters"),
            ("$(a)!=1", "no comparison"),
            ("1.5", "no comparison"),
            ("($(a)+$(b))", "without a comparison"),
            ("$(a)+$(b)>1", "not in brackets"),
            ("$()", "no sum of counters"),
        ] {
            assert!(told(text).contains(reason), "{text}: {}", told(text));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[$()#a-c+>=0-9./-]{0,24}") {
            let _ = Formula::parse(&text);
        }
    }
}
