//! A stream of JSON-RPC requests. It falls into the same objects in whatever pieces it comes; every
//! answer is one line of JSON with the id as it was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use wire::json_rpc::{Found, Splitter, parse, write_error, write_result};

fuzz_target!(|bytes: &[u8]| {
    let Some((size, stream)) = bytes.split_first() else { return };
    let (objects, end) = split(stream, stream.len().max(1));
    assert_eq!(split(stream, usize::from(*size % 16) + 1), (objects.clone(), end));
    for object in objects {
        check(&object);
    }
});

#[derive(Debug, PartialEq)]
enum End {
    Clean,
    Partial,
    Broken,
}

/// The objects of a stream that comes in pieces of `size` bytes, and how it ends.
fn split(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, End) {
    let mut splitter = Splitter::default();
    let (mut objects, mut buffer, mut end) = (Vec::new(), Vec::new(), End::Clean);
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.find(&buffer) {
                Ok(Found::Object(end)) => {
                    let object: Vec<u8> = buffer.drain(..end).collect();
                    // White space before an object may have been taken away earlier.
                    objects.push(object.trim_ascii_start().to_vec());
                }
                Ok(Found::Partial) => {
                    end = End::Partial;
                    break;
                }
                Ok(Found::Nothing) => {
                    buffer.clear();
                    end = End::Clean;
                    break;
                }
                Err(_) => return (objects, End::Broken),
            }
        }
    }
    (objects, end)
}

fn check(object: &[u8]) {
    let Ok(request) = parse(object) else {
        return;
    };
    // The default parser is stricter only in what it makes of numbers and nesting.
    let whole = serde_json::from_slice::<Value>(object).ok();
    assert!(whole.is_none_or(|whole| whole.is_object()));
    let id = request.id.map_or("null", RawValue::get);
    let answer = match request.call(&["Transfer.Update", "Transfer.Ping"]) {
        Ok((method, argument)) => {
            assert_eq!(request.method, method);
            let _: &RawValue = serde_json::from_str(argument).expect("the argument is JSON");
            write_result(request.id, &argument)
        }
        Err(error) => {
            assert!(!error.is_empty());
            write_error(request.id, &error)
        }
    };
    assert!(answer.starts_with(&format!("{{\"id\":{id},\"result\":")) && answer.ends_with("}\n"));
    let answer: &RawValue = serde_json::from_str(answer.trim_end()).expect("the answer is JSON");
    assert!(parse(answer.get().as_bytes()).is_ok());
}
