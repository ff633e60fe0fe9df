//! A mark at the head of what is written, by which it is known again whether somebody changed it since.

const MARK: &str = "# imported ";

/// The text with its mark.
pub(crate) fn sealed(text: &str) -> String {
    format!("{MARK}{:016x}\n{text}", digest(text))
}

/// Whether a rule group is as an import wrote it. One that was changed since, or that no import wrote, is not.
pub fn is_as_written(body: &str) -> bool {
    let parts = body.strip_prefix(MARK).and_then(|rest| rest.split_once('\n'));
    parts.is_some_and(|(mark, text)| u64::from_str_radix(mark, 16) == Ok(digest(text)))
}

/// FNV-1a: the same on every machine and in every version. Nobody has to be kept from making equal ones.
fn digest(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_breaks_the_seal() {
        let text = sealed("name: a\n");
        assert_eq!(text, "# imported 707c26f0b7cc4297\nname: a\n");
        assert!(is_as_written(&text));
        for changed in [text.replace("name", "Name"), "name: a\n".to_owned(), format!("{text} ")] {
            assert!(!is_as_written(&changed), "{changed}");
        }
        assert!(!is_as_written("# imported \n"));
    }
}
