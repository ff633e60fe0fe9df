//! Versions of the agent: which texts are versions, and which of two is the newer one.

use std::cmp::Ordering;

const BYTES_MAX: usize = 64;

/// Whether the text may be a version. It becomes a part of addresses and of file names.
pub(crate) fn is_valid(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    text.len() <= BYTES_MAX
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(is_inner)
        && !text.contains("..")
}

/// Compares by the numbers between dots; `7.1-rc1` comes before `7.1`, and what follows a `+` does
/// not matter. A text that is no version is older than all.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    parts(one.release, other.release).then_with(|| match (one.pre, other.pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => parts(one, other),
    })
}

struct Parts<'a> {
    release: &'a str,
    pre: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.split('+').next().unwrap_or("");
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        match text.split_once('-') {
            Some((release, pre)) => Self { release, pre: Some(pre) },
            None => Self { release: text, pre: None },
        }
    }
}

fn parts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => part(left.unwrap_or("0"), right.unwrap_or("0")),
        };
        if order.is_ne() {
            return order;
        }
    }
}

// A number is newer than a word: `7.1` than `7.beta`.
fn part(one: &str, other: &str) -> Ordering {
    match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(_), Err(_)) => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let rising = ["", "6.9", "7.0-rc.1", "7.0-rc.2", "7.0", "7.0.1", "7.2", "7.10", "v8", "10"];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        for (one, other) in [("7.1", "7.1.0"), ("v7.1", "7.1"), ("7.1+linux", "7.1+b2")] {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_part_of_a_file_name_is_no_version() {
        for good in ["7", "7.1.0", "7.1.0-rc1+b_2", "a", &"1".repeat(64)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ".7", "-7", "7..1", "7/1", "7 1", "7\n", "七", "7?x", &"1".repeat(65)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_one_of_both_sides(one in "[v0-9a-z.+-]{0,12}", other in "[v0-9a-z.+-]{0,12}") {
            prop_assert_eq!(compare(&one, &other), compare(&other, &one).reverse());
        }

        #[test]
        fn a_valid_version_never_leaves_its_folder(text in ".{0,80}") {
            if is_valid(&text) {
                let path = std::path::Path::new("/files").join(format!("bin_{text}"));
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/files")));
            }
        }
    }
}
