//! Quoted texts with the escapes of Go, which are those of PromQL.

/// Reads a quoted text at the start of `rest`: what it stands for, and how many bytes it takes.
pub(super) fn read(rest: &str) -> Result<(String, usize), String> {
    let quote = rest.chars().next().unwrap_or('"');
    let body = &rest[quote.len_utf8()..];
    if quote == '`' {
        let end = body.find('`').ok_or("unterminated raw string")?;
        return Ok((body[..end].to_owned(), end + 2));
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut at = 0;
    loop {
        let c = body[at..].chars().next().ok_or("unterminated quoted string")?;
        at += c.len_utf8();
        match c {
            '\n' => return Err("unterminated quoted string".to_owned()),
            '\\' => at += escape(&body[at..], quote, &mut bytes)?,
            _ if c == quote => break,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{}{}", &rest[..=at], super::NOT_UTF8))?;
    Ok((text, at + 1))
}

// Reads what follows a backslash; answers how many bytes it took.
fn escape(rest: &str, quote: char, bytes: &mut Vec<u8>) -> Result<usize, String> {
    let c = rest.chars().next().ok_or("escape sequence not terminated")?;
    let simple = match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        _ if c == quote => Some(c as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        bytes.push(byte);
        return Ok(1);
    }
    let (skip, digits, base) = match c {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        '0'..='7' => (0, 3, 8),
        _ => return Err(format!("unknown escape sequence {}", unicode(c))),
    };
    let mut code = 0;
    for at in skip..skip + digits {
        // What was read so far are digits, a byte each.
        let c = rest[at..].chars().next().ok_or("escape sequence not terminated")?;
        let fault = || format!("illegal character {} in escape sequence", unicode(c));
        code = code * u64::from(base) + u64::from(c.to_digit(base).ok_or_else(fault)?);
    }
    let fault = || "escape sequence is an invalid Unicode code point".to_owned();
    if matches!(c, 'u' | 'U') {
        let character = u32::try_from(code).ok().and_then(char::from_u32).ok_or_else(fault)?;
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        bytes.push(u8::try_from(code).map_err(|_| fault())?);
    }
    Ok(skip + digits)
}

/// A character as Go's `%#U` shows it.
fn unicode(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if c.is_control() { code } else { format!("{code} '{c}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        let text = r#""a\n\t\\\"\x41\101\u00e4\U0001F600" rest"#;
        assert_eq!(read(text), Ok(("a\n\t\\\"AAä😀".to_owned(), text.len() - 5)));
        assert_eq!(read("'it\\'s'"), Ok(("it's".to_owned(), 7)));
        assert_eq!(read("`a\\n\nb`"), Ok(("a\\n\nb".to_owned(), 7)));
    }

    #[test]
    fn faults_are_named() {
        for (text, reason) in [
            ("\"a", "unterminated quoted string"),
            ("\"a\nb\"", "unterminated quoted string"),
            ("`a", "unterminated raw string"),
            (r#""\q""#, "unknown escape sequence"),
            (r#""\xzz""#, "illegal character U+007A 'z' in escape sequence"),
            (r#""\xff""#, "not valid UTF-8"),
            (r#""\ud800""#, "invalid Unicode"),
            (r#""\777""#, "invalid Unicode"),
            ("\"\\x\n0\"", "illegal character U+000A in escape sequence"),
            (r#""\Uffffffff""#, "invalid Unicode"),
            (r#""\x4"#, "not terminated"),
        ] {
            assert!(read(text).is_err_and(|fault| fault.contains(reason)), "{text}");
        }
    }
}
