//! JSON-RPC 1.0 on a byte stream, as Go's `net/rpc/jsonrpc` speaks it and Open-Falcon's agents
//! expect it: objects one after the other, with or without anything between them, answered by an
//! object and a newline each. Keys match without regard to case; the id comes back as it was sent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// The stream holds something that is no request. The original closes the connection without a
/// word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the bytes are not a JSON-RPC request")]
pub struct NotARequest;

/// What [`Splitter::find`] sees in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A whole object, which ends before this position.
    Object(usize),
    /// The beginning of an object.
    Partial,
    /// White space, or nothing.
    Nothing,
}

/// Finds the end of the first object in a buffer that grows. Every byte is looked at once, however
/// small the pieces are in which it comes.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    looked_at: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Splitter {
    /// Looks at the bytes that came since the last call. After [`Found::Object`] and
    /// [`Found::Nothing`] the caller takes the bytes away, and the next call begins at 0.
    pub fn find(&mut self, buffer: &[u8]) -> Result<Found, NotARequest> {
        let new = buffer.get(self.looked_at..).unwrap_or(&[]);
        for (at, byte) in new.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' if self.depth > 0 => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' => self.depth += 1,
                b'[' if self.depth > 0 => self.depth += 1,
                b'}' | b']' if self.depth == 1 => {
                    let end = self.looked_at + at + 1;
                    *self = Self::default();
                    return Ok(Found::Object(end));
                }
                b'}' | b']' if self.depth > 0 => self.depth -= 1,
                _ if self.depth > 0 || byte.is_ascii_whitespace() => {}
                _ => return Err(NotARequest),
            }
        }
        if self.depth == 0 {
            *self = Self::default();
            return Ok(Found::Nothing);
        }
        self.looked_at = buffer.len();
        Ok(Found::Partial)
    }
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `Service.Method`.
    pub method: Cow<'a, str>,
    /// A list of which the first item counts; `None` when missing or null.
    pub params: Option<&'a RawValue>,
    /// Any value; `None` when missing or null.
    pub id: Option<&'a RawValue>,
}

/// Reads an object that [`Splitter::find`] found.
pub fn parse(object: &[u8]) -> Result<Request<'_>, NotARequest> {
    serde_json::from_slice(object).map_err(|_| NotARequest)
}

impl<'a> Request<'a> {
    /// Which of `methods` is called and the JSON text of its argument, or the text of the error to
    /// answer, in the words of Go.
    pub fn call<'m>(&self, methods: &[&'m str]) -> Result<(&'m str, &'a str), String> {
        let asked = &*self.method;
        let Some((service, _)) = asked.rsplit_once('.') else {
            return Err(format!("rpc: service/method request ill-formed: {asked}"));
        };
        let known_service =
            |method: &&str| method.rsplit_once('.').is_some_and(|(known, _)| known == service);
        if !methods.iter().any(known_service) {
            return Err(format!("rpc: can't find service {asked}"));
        }
        let Some(method) = methods.iter().find(|method| **method == asked) else {
            return Err(format!("rpc: can't find method {asked}"));
        };
        let params = self.params.ok_or("jsonrpc: request body missing params")?.get();
        let First(first) = serde_json::from_str(params).map_err(|_| {
            let kind = kind_of(params);
            format!("json: cannot unmarshal {kind} into Go value of type [1]interface {{}}")
        })?;
        Ok((method, first.map_or("null", RawValue::get)))
    }
}

/// Go's word for the kind of a JSON value.
pub fn kind_of(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        _ => "number",
    }
}

/// The answer to a call that went well.
pub fn write_result(id: Option<&RawValue>, result: &impl Serialize) -> String {
    let result = serde_json::to_string(result).expect("a result is texts and numbers");
    format!("{{\"id\":{},\"result\":{result},\"error\":null}}\n", id.map_or("null", RawValue::get))
}

/// The answer to a call that did not.
pub fn write_error(id: Option<&RawValue>, error: &str) -> String {
    let error = serde_json::to_string(error).expect("a text always has a JSON form");
    format!("{{\"id\":{},\"result\":null,\"error\":{error}}}\n", id.map_or("null", RawValue::get))
}

impl<'de> Deserialize<'de> for Request<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Request<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut request = Request::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key.eq_ignore_ascii_case("method") {
                        request.method =
                            map.next_value::<Option<Cow<'de, str>>>()?.unwrap_or_default();
                    } else if key.eq_ignore_ascii_case("params") {
                        request.params = map.next_value()?;
                    } else if key.eq_ignore_ascii_case("id") {
                        request.id = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(request)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The first item of a list; the others are skipped, as in the original.
struct First<'a>(Option<&'a RawValue>);

impl<'de> Deserialize<'de> for First<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHODS: [&str; 2] = ["Transfer.Ping", "Transfer.Update"];

    fn called(object: &str) -> Result<(String, String), String> {
        let request = parse(object.as_bytes()).expect("it is a request");
        request.call(&METHODS).map(|(method, body)| (method.to_owned(), body.to_owned()))
    }

    fn check_error(object: &str, error: &str) {
        assert_eq!(called(object), Err(error.to_owned()), "{object}");
    }

    /// The objects of a stream that comes in pieces of `piece` bytes.
    fn split(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, NotARequest> {
        let (mut splitter, mut buffer, mut objects) = (Splitter::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                match splitter.find(&buffer)? {
                    Found::Object(end) => {
                        let object: Vec<u8> = buffer.drain(..end).collect();
                        objects.push(object.trim_ascii().to_vec());
                    }
                    Found::Partial => break,
                    Found::Nothing => {
                        buffer.clear();
                        break;
                    }
                }
            }
        }
        Ok(objects)
    }

    #[test]
    fn a_call_is_its_method_and_its_first_argument() {
        let request = r#"{"method":"Transfer.Update","params":[[1, 2],{"ignored":true}],"id":7}"#;
        assert_eq!(called(request), Ok(("Transfer.Update".into(), "[1, 2]".into())));
        assert_eq!(parse(request.as_bytes()).unwrap().id.map(RawValue::get), Some("7"));
        let other_case = r#"{"Id":"x","PARAMS":[],"Method":"Transfer.Ping","more":[{}]}"#;
        assert_eq!(called(other_case), Ok(("Transfer.Ping".into(), "null".into())));
    }

    #[test]
    fn errors_have_the_words_of_go() {
        check_error(
            r#"{"method":"Transfer.Nope","params":[{}]}"#,
            "rpc: can't find method Transfer.Nope",
        );
        check_error(
            r#"{"method":"Judge.Ping","params":[{}]}"#,
            "rpc: can't find service Judge.Ping",
        );
        check_error(r#"{"method":"Update"}"#, "rpc: service/method request ill-formed: Update");
        check_error("{}", "rpc: service/method request ill-formed: ");
        for params in ["", r#","params":null"#] {
            let request = format!(r#"{{"method":"Transfer.Ping"{params}}}"#);
            check_error(&request, "jsonrpc: request body missing params");
        }
        check_error(
            r#"{"method":"Transfer.Ping","params":{}}"#,
            "json: cannot unmarshal object into Go value of type [1]interface {}",
        );
    }

    #[test]
    fn answers_repeat_the_id_as_it_was_sent() {
        for (id, written) in
            [("0", "0"), ("\"a b\"", "\"a b\""), ("{\"x\": 1}", "{\"x\": 1}"), ("null", "null")]
        {
            let text = format!(r#"{{"method":"","id":{id}}}"#);
            let request = parse(text.as_bytes()).expect("it is a request");
            assert_eq!(
                write_error(request.id, "a\"b"),
                format!("{{\"id\":{written},\"result\":null,\"error\":\"a\\\"b\"}}\n")
            );
        }
        let code = std::collections::BTreeMap::from([("code", 0)]);
        assert_eq!(
            write_result(None, &code),
            "{\"id\":null,\"result\":{\"code\":0},\"error\":null}\n"
        );
    }

    #[test]
    fn what_is_no_object_is_no_request() {
        for stream in ["GET / HTTP/1.1", "[]", "5", "\"a\"", "}", " x"] {
            assert_eq!(split(stream.as_bytes(), 3), Err(NotARequest), "{stream}");
        }
        for object in ["{]", "{\"method\":5}", "{a}", "{\"method\":\"\u{1}\"}"] {
            assert!(parse(object.as_bytes()).is_err(), "{object}");
        }
    }

    proptest! {
        #[test]
        fn glued_objects_are_taken_apart_however_they_arrive(
            texts in proptest::collection::vec("[a\"\\\\{}\\[\\] ]{0,8}", 0..6),
            between in "[ \n\t]{0,2}", piece in 1usize..9,
        ) {
            let object =
                |text: &String| serde_json::json!({ "method": text, "params": [[text], {}] }).to_string();
            let objects: Vec<String> = texts.iter().map(object).collect();
            let stream: String = objects.iter().map(|object| format!("{object}{between}")).collect();
            let found = split(stream.as_bytes(), piece).expect("all are objects");
            let expected: Vec<Vec<u8>> = objects.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes: Vec<u8>, text in "[\\[\\]{}\":,a0mpethod ]{0,60}", piece in 1usize..9,
        ) {
            for stream in [bytes.as_slice(), text.as_bytes()] {
                for object in split(stream, piece).unwrap_or_default() {
                    let _ = parse(&object).map(|request| request.call(&METHODS).map(|_| ()));
                }
            }
        }
    }
}
