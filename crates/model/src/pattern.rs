//! Regular expressions of Go, in which PromQL, relabelling rules and rule templates are written, for
//! the `regex` crate. Both have the same semantics (leftmost-first, linear time) and nearly the same
//! syntax; what is not the same is written anew here, and what Go refuses is refused in Go's words.

mod class;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// A pattern that compiles to more bytes than this is refused: a hostile query must not eat the memory.
pub(crate) const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Working memory of a thread that tries a pattern, in bytes.
const DFA_BYTES_MAX: usize = 1 << 18;

/// Copies that repeats inside each other may make of what they repeat; the limit of Go.
const COPIES_MAX: usize = 1000;

/// Groups and repeats inside each other. Go allows 1000; compiling recurses, and stacks are small here.
const DEPTH_MAX: usize = 200;

/// How deep the translated text may be nested: every level of ours takes up to four of the `regex` crate.
const NEST_MAX: u32 = 1000;

/// What of a text a pattern has to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternScope {
    /// All of it, and `.` matches line ends too: matchers, `label_replace`, relabelling.
    Whole,
    /// Any part of it, as Go's `regexp.MatchString` has it: templates.
    Part,
}

/// Why a text is no regular expression, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("error parsing regexp: {fault}: `{text}`")]
pub struct PatternError {
    fault: &'static str,
    text: String,
}

impl PatternError {
    fn new(fault: &'static str, text: &str) -> Self {
        Self { fault, text: text.to_owned() }
    }
}

/// Compiles a regular expression of Go (`regexp/syntax` with Perl flags). Refused is what Go refuses,
/// and what is nested deeper than 200 levels or takes more than 1 MiB once compiled. Groups keep
/// their numbers, and their names where the `regex` crate can have them: a name that occurs again or
/// begins with a digit is left out.
pub fn compile_pattern(pattern: &str, scope: PatternScope) -> Result<Regex, PatternError> {
    compile_within(pattern, scope, PATTERN_BYTES_MAX)
}

pub(crate) fn compile_within(
    pattern: &str,
    scope: PatternScope,
    bytes_max: usize,
) -> Result<Regex, PatternError> {
    let translated = translate(pattern, scope)?;
    let whole = match scope {
        PatternScope::Whole => format!(r"\A(?:{translated})\z"),
        PatternScope::Part => translated,
    };
    let mut builder = RegexBuilder::new(&whole);
    builder.size_limit(bytes_max).dfa_size_limit(DFA_BYTES_MAX).nest_limit(NEST_MAX);
    builder.build().map_err(|_| PatternError::new("expression too large", pattern))
}

fn translate(pattern: &str, scope: PatternScope) -> Result<String, PatternError> {
    let flags = Flags { dot_all: scope == PatternScope::Whole, ..Flags::default() };
    let group = Group::open("", flags);
    Translator { pattern, flags, group, outer: Vec::new(), names: Vec::new() }.run()
}

/// What `(?i)` and its like switch.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_all: bool,
    lazy: bool,
}

impl Flags {
    /// A text that letter case may not matter for.
    fn folded(self, text: String) -> String {
        if self.fold { format!("(?i:{text})") } else { text }
    }
}

/// Something that a repeat can stand behind.
#[derive(Debug)]
struct Item {
    text: String,
    /// How many copies the repeats in it make of something.
    copies: usize,
    /// Groups and repeats inside each other.
    depth: usize,
}

/// A group that is still open.
#[derive(Debug)]
struct Group {
    /// What it begins with, and the alternatives that are complete.
    text: String,
    /// The alternative that is being read.
    items: Vec<Item>,
    copies: usize,
    depth: usize,
    /// The flags outside of it.
    flags: Flags,
}

impl Group {
    fn open(text: &str, flags: Flags) -> Self {
        Self { text: text.to_owned(), items: Vec::new(), copies: 1, depth: 0, flags }
    }

    fn end_alternative(&mut self) {
        for item in self.items.drain(..) {
            self.text.push_str(&item.text);
            self.copies = self.copies.max(item.copies);
            self.depth = self.depth.max(item.depth);
        }
    }
}

struct Translator<'p> {
    pattern: &'p str,
    flags: Flags,
    group: Group,
    /// The groups around this one.
    outer: Vec<Group>,
    /// The names of groups so far.
    names: Vec<&'p str>,
}

impl<'p> Translator<'p> {
    fn run(mut self) -> Result<String, PatternError> {
        let mut rest = self.pattern;
        // The repeat right before, with all that follows it: two in a row are refused.
        let mut repeat = None;
        while let Some(first) = rest.chars().next() {
            let before = rest;
            rest = match first {
                '*' | '+' | '?' => {
                    let counts = Counts::of_sign(first);
                    self.repeat(counts, before, &rest[1..], repeat.replace(before))?
                }
                '{' => match Counts::read(rest)? {
                    Some((counts, after)) => {
                        self.repeat(counts, before, after, repeat.replace(before))?
                    }
                    None => {
                        repeat = None;
                        self.literal(first);
                        &rest[1..]
                    }
                },
                _ => {
                    repeat = None;
                    self.plain(first, rest)?
                }
            };
        }
        if !self.outer.is_empty() {
            return Err(PatternError::new("missing closing )", self.pattern));
        }
        self.group.end_alternative();
        Ok(self.group.text)
    }

    /// Anything but a repeat; answers what follows it.
    fn plain(&mut self, first: char, rest: &'p str) -> Result<&'p str, PatternError> {
        let after = &rest[first.len_utf8()..];
        match first {
            '(' => return self.open(rest),
            ')' => self.close()?,
            '|' => {
                self.group.end_alternative();
                self.group.text.push('|');
            }
            '^' => self.push(if self.flags.multi_line { "(?m:^)" } else { r"\A" }),
            '$' => self.push(if self.flags.multi_line { "(?m:$)" } else { r"\z" }),
            '.' => self.push(if self.flags.dot_all { "(?s:.)" } else { r"[^\n]" }),
            '[' => {
                let (class, after) = class::bracketed(rest)?;
                self.push(&self.flags.folded(class));
                return Ok(after);
            }
            '\\' => return self.escape(rest),
            other => self.literal(other),
        }
        Ok(after)
    }

    fn push(&mut self, text: &str) {
        self.group.items.push(Item { text: text.to_owned(), copies: 1, depth: 0 });
    }

    fn literal(&mut self, c: char) {
        let text = regex::escape(c.encode_utf8(&mut [0; 4]));
        self.push(&self.flags.folded(text));
    }

    fn escape(&mut self, rest: &'p str) -> Result<&'p str, PatternError> {
        let after = rest.get(2..);
        match (rest.chars().nth(1), after) {
            (Some('A'), Some(_)) => self.push(r"\A"),
            (Some('z'), Some(_)) => self.push(r"\z"),
            (Some('b'), Some(_)) => self.push(r"(?-u:\b)"),
            (Some('B'), Some(_)) => self.push(r"(?-u:\B)"),
            (Some('Q'), Some(after)) => {
                let (literal, after) = after.split_once(r"\E").unwrap_or((after, ""));
                literal.chars().for_each(|c| self.literal(c));
                return Ok(after);
            }
            _ => {
                if let Some((class, after)) = class::escaped(rest)? {
                    self.push(&self.flags.folded(class));
                    return Ok(after);
                }
                let (code, after) = class::character(rest)?;
                match char::from_u32(code) {
                    Some(c) => self.literal(c),
                    // Half of a surrogate pair occurs in no text.
                    None => self.push(class::NOTHING),
                }
                return Ok(after);
            }
        }
        Ok(after.unwrap_or(""))
    }

    fn repeat(
        &mut self,
        counts: Counts,
        before: &'p str,
        after: &'p str,
        last: Option<&'p str>,
    ) -> Result<&'p str, PatternError> {
        let (lazy, after) = after.strip_prefix('?').map_or((false, after), |after| (true, after));
        let written = |from: &'p str| &from[..from.len() - after.len()];
        if let Some(last) = last {
            return Err(PatternError::new("invalid nested repetition operator", written(last)));
        }
        let Some(item) = self.group.items.last_mut() else {
            return Err(PatternError::new(
                "missing argument to repetition operator",
                written(before),
            ));
        };
        item.copies = item.copies.saturating_mul(counts.copies());
        if counts.copies() > 1 && item.copies > COPIES_MAX {
            return Err(PatternError::new("invalid repeat count", written(before)));
        }
        item.depth += 1;
        if item.depth > DEPTH_MAX {
            return Err(self.too_deep());
        }
        let lazy = if lazy != self.flags.lazy { "?" } else { "" };
        item.text = format!("(?:{}){}{lazy}", item.text, counts.text());
        Ok(after)
    }

    fn too_deep(&self) -> PatternError {
        PatternError::new("expression nests too deeply", self.pattern)
    }

    fn close(&mut self) -> Result<(), PatternError> {
        let Some(outer) = self.outer.pop() else {
            return Err(PatternError::new("unexpected )", self.pattern));
        };
        let mut group = std::mem::replace(&mut self.group, outer);
        group.end_alternative();
        self.flags = group.flags;
        let item = Item { text: group.text + ")", copies: group.copies, depth: group.depth + 1 };
        self.group.items.push(item);
        Ok(())
    }

    /// A group, or flags that are switched in the middle of one.
    fn open(&mut self, rest: &'p str) -> Result<&'p str, PatternError> {
        let Some(inner) = rest.strip_prefix("(?") else {
            self.begin("(", self.flags)?;
            return Ok(&rest[1..]);
        };
        let named = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<'));
        match named.filter(|named| !named.is_empty()) {
            Some(named) => self.open_named(rest, named),
            None => self.open_flagged(rest, inner),
        }
    }

    fn begin(&mut self, text: &str, flags: Flags) -> Result<(), PatternError> {
        if self.outer.len() >= DEPTH_MAX {
            return Err(self.too_deep());
        }
        let group = Group::open(text, self.flags);
        self.outer.push(std::mem::replace(&mut self.group, group));
        self.flags = flags;
        Ok(())
    }

    fn open_named(&mut self, rest: &'p str, named: &'p str) -> Result<&'p str, PatternError> {
        let fault = |text: &str| PatternError::new("invalid named capture", text);
        let (name, after) = named.split_once('>').ok_or_else(|| fault(rest))?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(fault(&rest[..rest.len() - after.len()]));
        }
        let can_be_named = !name.starts_with(|c: char| c.is_ascii_digit());
        if can_be_named && !self.names.contains(&name) {
            self.names.push(name);
            self.begin(&format!("(?P<{name}>"), self.flags)?;
        } else {
            self.begin("(", self.flags)?;
        }
        Ok(after)
    }

    fn open_flagged(&mut self, rest: &'p str, inner: &'p str) -> Result<&'p str, PatternError> {
        let (mut flags, mut value, mut any) = (self.flags, true, false);
        for (at, c) in inner.char_indices() {
            let after = &inner[at + c.len_utf8()..];
            match c {
                'i' => flags.fold = value,
                'm' => flags.multi_line = value,
                's' => flags.dot_all = value,
                'U' => flags.lazy = value,
                '-' if value => {
                    (value, any) = (false, false);
                    continue;
                }
                ':' | ')' if value || any => {
                    if c == ':' {
                        self.begin("(?:", flags)?;
                    }
                    self.flags = flags;
                    return Ok(after);
                }
                _ => {
                    let written = &rest[..rest.len() - after.len()];
                    return Err(PatternError::new("invalid or unsupported Perl syntax", written));
                }
            }
            any = true;
        }
        Err(PatternError::new("missing closing )", rest))
    }
}

/// How often something occurs.
#[derive(Debug, Clone, Copy)]
enum Counts {
    Sign(char),
    AtLeast(usize),
    Between(usize, usize),
}

impl Counts {
    fn of_sign(sign: char) -> Self {
        Self::Sign(sign)
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`. `None` when it is something else: then the brace is a character.
    fn read(text: &str) -> Result<Option<(Self, &str)>, PatternError> {
        let Some((inner, after)) = text[1..].split_once('}') else { return Ok(None) };
        let written = &text[..text.len() - after.len()];
        let (least, most) = match inner.split_once(',') {
            None => (inner, Some(inner)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        let is_count = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain && (digits == "0" || !digits.starts_with('0'))
        };
        if !is_count(least) || !most.is_none_or(is_count) {
            return Ok(None);
        }
        let count = |digits: &str| digits.parse().ok().filter(|count| *count <= COPIES_MAX);
        let fault = || PatternError::new("invalid repeat count", written);
        let least = count(least).ok_or_else(fault)?;
        let Some(most) = most else { return Ok(Some((Self::AtLeast(least), after))) };
        let most = count(most).filter(|most| *most >= least).ok_or_else(fault)?;
        Ok(Some((Self::Between(least, most), after)))
    }

    /// How many copies of what it repeats a repeat stands for.
    fn copies(self) -> usize {
        match self {
            Self::Sign(_) => 1,
            Self::AtLeast(count) | Self::Between(_, count) => count.max(1),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Sign(sign) => sign.to_string(),
            Self::AtLeast(least) => format!("{{{least},}}"),
            Self::Between(least, most) => format!("{{{least},{most}}}"),
        }
    }
}

#[cfg(test)]
mod tests;
