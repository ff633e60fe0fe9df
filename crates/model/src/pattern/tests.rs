use proptest::prelude::*;

use super::*;

fn whole(pattern: &str) -> Regex {
    compile_pattern(pattern, PatternScope::Whole).expect("Go takes the pattern")
}

#[track_caller]
fn matches(pattern: &str, wanted: &[&str], unwanted: &[&str]) {
    let regex = whole(pattern);
    for text in wanted {
        assert!(regex.is_match(text), "{pattern} should match {text:?}: {regex}");
    }
    for text in unwanted {
        assert!(!regex.is_match(text), "{pattern} should not match {text:?}: {regex}");
    }
}

#[track_caller]
fn refused(pattern: &str, reason: &str) {
    let error = compile_pattern(pattern, PatternScope::Whole).expect_err(pattern);
    assert_eq!(error.to_string(), format!("error parsing regexp: {reason}"), "{pattern}");
}

#[test]
fn a_pattern_matches_the_whole_text_and_dots_match_line_ends() {
    matches("a.b|c", &["a\nb", "c"], &["xc", "cx", "a\nbc"]);
    matches("(?-s)a.b", &["axb"], &["a\nb"]);
    matches("(?-s:a.)b.", &["axb\n"], &["a\nbx"]);
    matches("", &[""], &["a"]);
}

#[test]
fn in_a_part_of_a_text_dots_stop_at_line_ends() {
    let part = |pattern| compile_pattern(pattern, PatternScope::Part).expect("Go takes it");
    assert!(part("a.c").is_match("xabcx") && !part("a.c").is_match("a\nc"));
    assert!(part("^b$|x").is_match("ax") && !part("^b$").is_match("a\nb"));
    assert!(part("(?m)^b$").is_match("a\nb\nc"));
}

#[test]
fn quoted_text_stands_for_itself() {
    matches(r"\Qa.b*\E+", &["a.b*", "a.b**"], &["axb*", "a.b"]);
    matches(r"\Qa[", &["a["], &["a"]);
    matches(r"(?i)\Qab\E", &["AB"], &["A"]);
    matches(r"a\Q\E*", &["", "aa"], &["b"]);
    refused(r"\Q\E*", "missing argument to repetition operator: `*`");
}

#[test]
fn perl_classes_and_word_boundaries_are_ascii() {
    matches(r"\d+", &["09"], &["\u{0663}"]);
    matches(r"\D", &["\u{0663}", "a"], &["1"]);
    matches(r"\w+", &["aZ_9"], &["\u{e4}"]);
    matches(r"[\W]", &["\u{e4}", "-"], &["a"]);
    matches(r"\s", &[" ", "\t", "\u{c}"], &["\u{b}", "\u{a0}", "\u{2003}"]);
    matches(r"\S", &["\u{b}", "x"], &[" "]);
    matches("x\\b.*", &["x", "x\u{e4}", "x-"], &["xy"]);
    matches("x\\B.*", &["xy"], &["x", "x\u{e4}"]);
    matches("\u{e4}\\B\u{e4}", &["\u{e4}\u{e4}"], &[]);
    matches(r"(?i)\w", &["\u{17f}", "\u{212a}"], &[]);
    matches(r"(?i)[^\W]", &["\u{17f}"], &["-"]);
}

#[test]
fn letter_case_is_folded_as_unicode_has_it() {
    matches("(?i)stra\u{df}e|\u{e4}", &["STRA\u{1e9e}E", "\u{c4}"], &["STRASSE"]);
    matches("a(?i)b|c", &["aB", "C"], &["AB"]);
    matches("(?:a(?i)b)c", &["aBc"], &["aBC"]);
    matches("(?i:a)b", &["Ab"], &["aB"]);
    matches("(?i)[a-c]", &["B"], &["d"]);
    matches("(?i)k", &["\u{212a}"], &[]);
    matches("(?i)[^k]", &["x"], &["\u{212a}"]);
    matches("(?i-i)a", &["a"], &["A"]);
}

#[test]
fn ends_of_text_and_of_lines_are_told_apart() {
    matches(r"\Aa\z", &["a"], &["a\n"]);
    matches("^a$", &["a"], &["a\n", "b\na"]);
    matches("(?m).*^a$.*", &["a", "b\na\nc"], &["ba"]);
    matches("^*a$+", &["a"], &[]);
}

#[test]
fn classes_are_those_of_go() {
    matches("[]a]", &["]", "a"], &["b"]);
    matches("[^]a]", &["b", "\n"], &["]", "a"]);
    matches("[a-]|[-b]|[+--]", &["a", "-", "b", ","], &["c"]);
    matches("[[:word:]]+", &["a_1"], &["-"]);
    matches("[[:^alpha:]x]", &["1", "x"], &["a"]);
    matches("[[:space:]]", &["\u{b}", "\r"], &["\u{a0}"]);
    matches("[a&&b]|[a~~b]|[+--]", &["&", "b", "~", "+", ",", "-"], &["e"]);
    matches("[[a]", &["[", "a"], &["b"]);
    matches(r"[\]\-\\]", &["]", "-", "\\"], &["a"]);
    matches(r"[\x00-\x{10FFFF}]", &["\u{10FFFF}", "\n"], &[]);
    matches(r"[^\x00-\x{10FFFF}]|a", &["a"], &["b"]);
    matches(r"[\x{D7FF}-\x{E000}]", &["\u{D7FF}", "\u{E000}"], &["a"]);
    matches(r"[\x{D800}a]|\x{DFFF}", &["a"], &["\u{FFFD}"]);
    for name in ["alnum", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct"] {
        whole(&format!("[[:{name}:]][[:^{name}:]]"));
    }
}

#[test]
fn unicode_classes_are_categories_and_scripts() {
    matches(r"\pN+", &["1\u{0663}"], &["a"]);
    matches(r"\p{Greek}\P{Greek}", &["\u{3b1}a"], &["a\u{3b1}"]);
    matches(r"\p{^Lu}|[\p{Lu}]", &["a", "A"], &[]);
    matches(r"\P{^Lu}", &["A"], &["a"]);
    matches(r"(?i)\p{Lu}", &["a", "A"], &["1"]);
    matches(r"\p{Any}|\p{Old_Italic}|\p{Thai}", &["x"], &[]);
    matches(r"\p{Cs}|a", &["a"], &["b"]);
    for name in ["{Nope}", "{gc=Lu}", "{Alphabetic}", "{Latn}", "{}", "b", "\u{e4}"] {
        refused(&format!(r"\p{name}"), &format!(r"invalid character class range: `\p{name}`"));
    }
    refused(r"a\p{Greek", r"invalid character class range: `\p{Greek`");
}

#[test]
fn escapes_are_those_of_go() {
    matches(r"\x41\x{42}\101\07\a\f\t\n\r\v", &["ABA\x07\x07\x0c\t\n\r\x0b"], &[]);
    matches(r"\x{10FFFF}|\x{0fF}?", &["\u{10FFFF}", "\u{ff}"], &[]);
}

#[test]
fn unknown_escapes_are_refused() {
    for (pattern, piece) in [
        (r"\8", r"\8"),
        (r"a\1", r"\1"),
        (r"\C", r"\C"),
        (r"\Z", r"\Z"),
        (r"\y", r"\y"),
        (r"\Kx", r"\K"),
        ("\\\u{e4}", "\\\u{e4}"),
        (r"\xg0", r"\xg0"),
        (r"\x4", r"\x4"),
        (r"\x{110000}", r"\x{110000"),
        (r"\x{}", r"\x{}"),
        (r"\x{4", r"\x{4"),
        (r"\x{4g}", r"\x{4g"),
        (r"[\b]", r"\b"),
        (r"[\z]", r"\z"),
        (r"[a-\d]", r"\d"),
    ] {
        refused(pattern, &format!("invalid escape sequence: `{piece}`"));
    }
    refused("a\\", "trailing backslash at end of expression: ``");
}

#[test]
fn braces_that_are_no_repeat_are_characters() {
    matches("a{,2}|{|x{y}|a{1|b{01}", &["a{,2}", "{", "x{y}", "a{1", "b{01}"], &["aa"]);
    matches("a{2}b{1,}c{0,1}", &["aab", "aabbbc"], &["ab", "aabcc"]);
    matches("a{0}{", &["{"], &["a{"]);
}

#[test]
fn repeats_are_bounded_as_in_go() {
    matches("x{1000}|(y{10}){100}|(?:z{2}){0,500}", &["zz"], &["y"]);
    for pattern in ["x{1001}", "x{2,1}", "x{1,1001}", "x{9876543210}", "x{1001,}"] {
        refused(pattern, &format!("invalid repeat count: `{}`", &pattern[1..]));
    }
    refused("(a{100}){11}", "invalid repeat count: `{11}`");
    refused("((a{100}){10}|b){2}?", "invalid repeat count: `{2}?`");
    refused("(?:(?:a{32}){32,}b){1,2}", "invalid repeat count: `{32,}`");
    // As in Go, none at all is never too many, and repeats without a count do not count.
    whole("((a{100}){10}){0}");
    whole("((a{1000})*)+");
}

#[test]
fn repeats_need_something_to_repeat() {
    for (pattern, piece) in
        [("a**", "**"), ("a+?*", "+?*"), ("a{2}{3}", "{2}{3}"), ("a??+?", "??+?")]
    {
        refused(pattern, &format!("invalid nested repetition operator: `{piece}`"));
    }
    for (pattern, piece) in [("*", "*"), ("a|*", "*"), ("(+?b)", "+?"), ("{2}", "{2}")] {
        refused(pattern, &format!("missing argument to repetition operator: `{piece}`"));
    }
    matches("(?:a*)*|a*(?i)*b", &["aaa", "b"], &["A"]);
}

#[test]
fn groups_must_be_closed_and_known() {
    for (pattern, reason) in [
        ("(a", "missing closing ): `(a`"),
        ("a)(b", "unexpected ): `a)(b`"),
        ("[a", "missing closing ]: `[a`"),
        ("x[]", "missing closing ]: `[]`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"[\x{62}-a]", r"invalid character class range: `\x{62}-a`"),
        ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?i-s-m)a", "invalid or unsupported Perl syntax: `(?i-s-`"),
        ("(?<=a)", "invalid named capture: `(?<=a)`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        ("b(?P<x y>a)", "invalid named capture: `(?P<x y>`"),
    ] {
        refused(pattern, reason);
    }
}

#[test]
fn groups_keep_their_numbers_and_names() {
    let regex = whole("(?P<first>a)(?<second>b)(?:c)(?P<first>d)(?P<4th>e)(f)??");
    let caught = regex.captures("abcde").expect("it matches");
    assert_eq!((&caught["first"], &caught["second"]), ("a", "b"));
    assert_eq!((&caught[3], &caught[4], caught.get(5)), ("d", "e", None));
    let lazy = whole("(a*?)(a*)");
    assert_eq!(&lazy.captures("aa").expect("it matches")[1], "");
    let swapped = whole("(?U)(a*)(a*?)");
    assert_eq!(&swapped.captures("aa").expect("it matches")[1], "");
}

#[test]
fn what_is_too_deep_or_too_large_is_refused() {
    let nested = |depth: usize| "(".repeat(depth) + "a" + &")*".repeat(depth);
    let outermost = nested(DEPTH_MAX / 2);
    assert!(whole(&outermost).is_match("aaa"));
    for pattern in [nested(DEPTH_MAX), "(".repeat(10_000), format!("a{}", "*(?i)".repeat(10_000))] {
        refused(&pattern, &format!("expression nests too deeply: `{pattern}`"));
    }
    let large = r"(\pL{100}){10}";
    refused(large, &format!("expression too large: `{large}`"));
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(pattern in ".{0,40}") {
        let _ = compile_pattern(&pattern, PatternScope::Part);
    }

    #[test]
    fn what_is_translated_compiles(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b", "|", "(", ")", "(?i)", "(?:", "(?P<n>", "(?s-m:", "[", "]", "^", "$", "-",
                ".", "*", "+", "?", "{2}", "{1,3}", "{,", "\\d", "\\W", "\\b", "\\B", "\\Q", "\\E",
                "\\pL", "\\P{Greek}", "[:alpha:]", "[a-c]", "[^\\s]", "\\x{D800}", "\\x41", "\\z",
                "&&", "~~", "\u{e4}", "\n", "#", " ",
            ]),
            0..16,
        ),
    ) {
        let pattern = words.concat();
        // The only fault that may come from below is that of size.
        if let Err(error) = compile_pattern(&pattern, PatternScope::Whole) {
            prop_assert_ne!(error.fault, "expression too large", "{}", pattern);
        }
    }

    #[test]
    fn plain_patterns_mean_what_they_mean_to_the_regex_crate(
        pattern in "([ab]|[ab]\\*|[ab]\\+\\?|\\([ab]\\|b\\)|\\[ab\\]|\\[\\^a\\]|a\\{1,2\\}|\\.|\\|){0,6}",
        texts in prop::collection::vec("[ab\n]{0,5}", 1..8),
    ) {
        let ours = whole(&pattern);
        let theirs = Regex::new(&format!("^(?s:{pattern})$")).expect("it is plain");
        for text in &texts {
            prop_assert_eq!(ours.is_match(text), theirs.is_match(text), "{:?} on {:?}", pattern, text);
        }
    }
}
