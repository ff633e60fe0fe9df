//! The order of versions, and which texts are versions at all.

use std::cmp::Ordering;

/// Characters of a version, at most.
pub const LENGTH_MAX: usize = 64;

/// Whether a text is a version: `[0-9A-Za-z][0-9A-Za-z._+-]{0,63}` without `..`. It becomes part of file names and
/// of addresses.
pub fn is_version(text: &str) -> bool {
    let is_first = |c: u8| c.is_ascii_alphanumeric();
    let is_later = |c: u8| c.is_ascii_alphanumeric() || b"._+-".contains(&c);
    let bytes = text.as_bytes();
    bytes.len() <= LENGTH_MAX
        && bytes.first().copied().is_some_and(is_first)
        && bytes.iter().copied().all(is_later)
        && !text.contains("..")
}

/// Which of two versions is newer: numbers by value, words by letter; `1.2-rc1` is older than `1.2`. What follows
/// a `+` does not count.
pub fn order(left: &str, right: &str) -> Ordering {
    let split = |text: &str| -> (Vec<Part>, Option<Vec<Part>>) {
        let text = text.split('+').next().unwrap_or_default().to_owned();
        match text.split_once('-') {
            Some((release, early)) => (parts(release), Some(parts(early))),
            None => (parts(&text), None),
        }
    };
    let ((left, left_early), (right, right_early)) = (split(left), split(right));
    by_parts(&left, &right).then_with(|| match (left_early, right_early) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => by_parts(&left, &right),
    })
}

// Words come before numbers, so that 7.beta is older than 7.0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Word(String),
    Number(u128),
}

// A text without dots is cut where digits begin and end: rc9 is older than rc10.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in text.split(['.', '_', '-']) {
        let mut rest = piece;
        while let Some(first) = rest.chars().next() {
            let is_digit = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
            let (run, tail) = rest.split_at(end);
            parts.push(match run.parse() {
                Ok(number) => Part::Number(number),
                Err(_) => Part::Word(run.to_owned()),
            });
            rest = tail;
        }
    }
    parts
}

// 7.0 and 7.0.0 are the same version.
fn by_parts(left: &[Part], right: &[Part]) -> Ordering {
    let zero = Part::Number(0);
    (0..left.len().max(right.len()))
        .map(|at| left.get(at).unwrap_or(&zero).cmp(right.get(at).unwrap_or(&zero)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        for (older, newer) in [
            ("7.0", "7.1"),
            ("7.9", "7.10"),
            ("7.1-rc1", "7.1"),
            ("7.1-rc9", "7.1-rc10"),
            ("6.0.1", "7"),
            ("7.beta", "7.0"),
        ] {
            assert_eq!(order(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(order(newer, older), Ordering::Greater, "{newer} {older}");
        }
        assert_eq!(order("7.0", "7.0.0"), Ordering::Equal);
        assert_eq!(order("7.0+a", "7.0+b"), Ordering::Equal);
    }

    #[test]
    fn what_could_leave_the_folder_is_no_version() {
        for good in ["7.0", "7.1.0-rc1+x_2", "v1"] {
            assert!(is_version(good), "{good}");
        }
        let long = "1".repeat(65);
        for bad in ["", ".1", "../x", "1/2", "1..2", "1 2", "1\n", "é", "1~cfg", long.as_str()] {
            assert!(!is_version(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_one(a in "[0-9a-z.+-]{0,9}", b in "[0-9a-z.+-]{0,9}", c in "[0-9a-z.+-]{0,9}") {
            prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
            if order(&a, &b).is_le() && order(&b, &c).is_le() {
                prop_assert!(order(&a, &c).is_le());
            }
        }

        #[test]
        fn no_text_makes_it_panic(a in any::<String>(), b in any::<String>()) {
            let _ = (is_version(&a), order(&a, &b));
        }
    }
}
