//! A gate on the way to a data centre, of real sockets: it lets questions through, or stands for all that can be wrong
//! with a data centre.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daemon::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the gate does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The answer of the data centre comes back.
    Open,
    /// As `Open`, after a while.
    Late(Duration),
    /// The connection ends.
    Closed,
    /// Nothing ever comes back.
    Silent,
    /// These bytes come back.
    Lies(&'static str),
    /// The first half of the answer comes back, then the connection ends.
    Half,
}

/// One gate.
pub(crate) struct Gate {
    pub(crate) addr: SocketAddr,
    way: watch::Sender<Way>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Questions that came.
    asked: AtomicUsize,
    /// Questions that were taken back before they were answered.
    given_up: AtomicUsize,
}

impl Gate {
    /// A gate to the data centre at `to`.
    pub(crate) async fn to(to: SocketAddr, context: &Context) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("port 0 is free");
        let addr = listener.local_addr().expect("it is bound");
        let (way, seen) = watch::channel(Way::Open);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let tasks = context.clone();
        context.spawn("gate", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (way, counts) = (*seen.borrow(), Arc::clone(&shared));
                tasks.spawn("passage", pass(stream, to, way, counts));
            }
        });
        Self { addr, way, counts }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it does with the questions that come from now on.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    pub(crate) fn asked(&self) -> usize {
        self.counts.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn given_up(&self) -> usize {
        self.counts.given_up.load(Ordering::SeqCst)
    }
}

async fn pass(mut stream: TcpStream, to: SocketAddr, way: Way, counts: Arc<Counts>) {
    let Some(question) = read_request(&mut stream).await else { return };
    counts.asked.fetch_add(1, Ordering::SeqCst);
    let answer = match way {
        Way::Closed => return,
        Way::Silent => {
            // The client closes its end when it gives up.
            let _end = stream.read(&mut [0; 1]).await;
            counts.given_up.fetch_add(1, Ordering::SeqCst);
            return;
        }
        Way::Lies(text) => text.as_bytes().to_vec(),
        Way::Late(after) => {
            tokio::time::sleep(after).await;
            ask(to, &question).await.unwrap_or_default()
        }
        Way::Open | Way::Half => ask(to, &question).await.unwrap_or_default(),
    };
    let end = if way == Way::Half { answer.len() / 2 } else { answer.len() };
    let _sent = stream.write_all(&answer[..end]).await;
    let _shut = stream.shutdown().await;
}

/// One request, which asks for the connection to be closed after its answer.
async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(Some(0), |text| text.trim().parse().ok())?;
            if bytes.len() >= head + 4 + length {
                let at = bytes.iter().position(|byte| *byte == b'\n')? + 1;
                bytes.splice(at..at, *b"connection: close\r\n");
                return Some(bytes);
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(count) if count > 0 => bytes.extend(&more[..count]),
            _ => return None,
        }
    }
}

async fn ask(to: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(question).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}
