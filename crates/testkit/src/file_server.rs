//! A file server that can be told to misbehave.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Context;
use futures_util::{StreamExt, stream};

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// It answers with this status.
    Status(u16),
    /// The connection ends after so many bytes, once.
    Cut(usize),
    /// It never answers.
    Hang,
    /// One bit of what it sends is wrong.
    Flip,
    /// It says that the file has so many bytes.
    Claim(u64),
}

/// One request: the file's name and the `Range` header.
pub type Asked = (String, Option<String>);

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    asked: Vec<Asked>,
}

/// Serves files below `/files/`; it ends with the context that serves it.
#[derive(Debug, Clone)]
pub struct FileServer {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

impl FileServer {
    /// Starts on a free loopback port, with no files.
    pub async fn start(context: &Context) -> Self {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let routes =
            Router::new().route("/files/{name}", get(serve)).with_state(Arc::clone(&shelf));
        let address = context
            .listen(([127, 0, 0, 1], 0).into(), routes)
            .await
            .expect("port 0 is always free");
        Self { address, shelf }
    }

    /// Base address of the files.
    pub fn url(&self) -> String {
        format!("http://{}/files", self.address)
    }

    /// Puts a file there, or another in its place.
    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        locked(&self.shelf).files.insert(name.to_owned(), bytes.into());
    }

    /// Misbehaves from now on.
    pub fn fault(&self, fault: Fault) {
        locked(&self.shelf).fault = fault;
    }

    /// What was asked for so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shelf).asked.clone()
    }
}

fn locked(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    let (file, fault) = {
        let mut shelf = locked(&shelf);
        shelf.asked.push((name.clone(), text(RANGE)));
        let fault = shelf.fault;
        if matches!(fault, Fault::Cut(_)) {
            shelf.fault = Fault::None;
        }
        (shelf.files.get(&name).cloned(), fault)
    };
    let Some(mut file) = file else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}-{}\"", file.len(), checksum(&file));
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Status(status) => {
            return StatusCode::from_u16(status).expect("a valid status").into_response();
        }
        Fault::Flip => {
            let middle = file.len() / 2;
            file[middle] ^= 1;
        }
        Fault::None | Fault::Cut(_) | Fault::Claim(_) => {}
    }
    let whole = file.len();
    let is_same = text(IF_RANGE).is_some_and(|asked| asked == etag);
    let from = text(RANGE)
        .filter(|_| is_same)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let mut body = match from {
        Some(from) if from >= whole => return StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
        Some(from) => file.split_off(from),
        None => file,
    };
    let length = match fault {
        Fault::Claim(bytes) => bytes,
        _ => body.len() as u64,
    };
    let body = match fault {
        Fault::Claim(_) => cut(body),
        Fault::Cut(bytes) => {
            body.truncate(bytes);
            cut(body)
        }
        _ => Body::from(body),
    };
    let headers = [(ETAG, etag), (CONTENT_LENGTH, length.to_string())];
    match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{whole}", whole - 1);
            (StatusCode::PARTIAL_CONTENT, headers, [(CONTENT_RANGE, range)], body).into_response()
        }
        None => (headers, body).into_response(),
    }
}

// What was sent before the cut must have left; a connection that fails at once may drop it.
fn cut(body: Vec<u8>) -> Body {
    let broken = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    };
    Body::from_stream(stream::iter([Ok(body)]).chain(stream::once(broken)))
}

// A sample is enough to tell the few files of a test apart.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(997).fold(5381, |sum: u64, byte| sum.wrapping_mul(33) ^ u64::from(*byte))
}
