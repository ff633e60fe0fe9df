//! Lines on a raw connection: Open-Falcon's `update` and OpenTSDB's `put`. Nothing is ever answered,
//! so a bad line is counted and costs only itself, and samples that the store does not take at the
//! moment are kept while the client waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Connection, Stop};
use model::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use wire::known::KnownLabels;
use wire::line::{self, Command, LineFault};

use crate::gate::{Counted, Gate};
use crate::ingest::Incoming;
use crate::metrics::{Protocol, RequestFault};
use crate::reason::Reason;
use crate::receive::falcon::Gathered;

/// Samples are handed on when there are so many of them …
const BATCH_SAMPLES_MAX: usize = 1000;
/// … or when the first has waited for so long.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// How long to wait before the store is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What is read at a time at least.
const READ_BYTES: usize = 4 << 10;
const EXAMPLE_CHARS_MAX: usize = 200;

/// Takes the lines of one connection until the client goes, says `quit`, or is silent for
/// `line_idle_timeout`.
pub(crate) async fn serve(
    gate: Arc<Gate>,
    mut connection: Connection,
    peer: SocketAddr,
    stop: Stop,
) {
    let _counted = Counted::one(&gate.metrics.line_connections);
    let mut lines = Lines::new(gate.config.line_bytes_max);
    let mut batch = Batch::default();
    let mut idle_at = Instant::now() + gate.config.line_idle_timeout;
    let mut going_on = true;
    while going_on {
        let flush_at = batch.flush_at.unwrap_or(idle_at);
        let buffer = lines.room();
        tokio::select! {
            read = connection.read_buf(buffer) => {
                idle_at = Instant::now() + gate.config.line_idle_timeout;
                let ended = !matches!(read, Ok(1..));
                while let Some(taken) = lines.next(ended) {
                    going_on = batch.take(taken, gate.clock.now(), &gate.known);
                    if batch.samples >= BATCH_SAMPLES_MAX {
                        batch.hand_on(&gate, peer, &stop).await;
                    }
                    if !going_on {
                        break;
                    }
                }
                going_on &= !ended;
            }
            () = tokio::time::sleep_until(flush_at) => {
                going_on = batch.flush_at.is_some();
                batch.hand_on(&gate, peer, &stop).await;
            }
            () = stop.clone().requested() => going_on = false,
        }
    }
    batch.hand_on(&gate, peer, &stop).await;
}

/// Cuts a stream into lines of bounded length.
struct Lines {
    buffer: Vec<u8>,
    taken: usize,
    bytes_max: usize,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
}

impl Lines {
    fn new(bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), taken: 0, bytes_max, skipping: false }
    }

    /// Where to read the next bytes to.
    fn room(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The next line; the last one needs no end when the stream has `ended`.
    fn next(&mut self, ended: bool) -> Option<Result<&[u8], LineFault>> {
        loop {
            let rest = &self.buffer[self.taken..];
            let (line, after) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, end + 1),
                None if ended && !rest.is_empty() => (rest.len(), rest.len()),
                None if rest.len() > self.bytes_max => {
                    self.taken = self.buffer.len();
                    if std::mem::replace(&mut self.skipping, true) {
                        return None;
                    }
                    return Some(Err(LineFault::TooLong));
                }
                None => return None,
            };
            let begin = self.taken;
            self.taken += after;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line > self.bytes_max {
                return Some(Err(LineFault::TooLong));
            }
            return Some(Ok(&self.buffer[begin..begin + line]));
        }
    }
}

/// Samples that wait to be handed on.
struct Batch {
    updates: Gathered,
    puts: Incoming,
    samples: usize,
    flush_at: Option<Instant>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            updates: Gathered::new(Protocol::Line),
            puts: Incoming::new(Protocol::OpenTsdbLine),
            samples: 0,
            flush_at: None,
        }
    }
}

impl Batch {
    /// Takes a line; false when it says that no other follows.
    fn take(
        &mut self,
        line: Result<&[u8], LineFault>,
        now: Timestamp,
        known: &KnownLabels,
    ) -> bool {
        let read = line.and_then(|line| line::parse(line, now));
        match read {
            Ok(Command::Blank) => return true,
            Ok(Command::Quit) => return false,
            Ok(Command::Update(sample)) => self.updates.push(&sample, known),
            Ok(Command::Put(series)) => self.puts.series.push(series),
            Err(fault) => {
                let text = String::from_utf8_lossy(line.unwrap_or_default());
                let example = || text.trim().chars().take(EXAMPLE_CHARS_MAX).collect();
                let refusals = match fault {
                    LineFault::Put(_) => &mut self.puts.refusals,
                    _ => self.updates.refusals(),
                };
                refusals.add(Reason::from(fault), 1, example);
            }
        }
        self.samples += 1;
        self.flush_at.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
        true
    }

    /// Puts the samples through the corridor.
    async fn hand_on(&mut self, gate: &Gate, peer: SocketAddr, stop: &Stop) {
        if self.samples == 0 {
            return;
        }
        let Self { updates, puts, .. } = std::mem::take(self);
        for incoming in [updates.finish(), puts] {
            if !incoming.is_empty() {
                deliver(gate, incoming, peer, stop).await;
            }
        }
    }
}

/// Asks for a turn, and the store, again until `request_timeout` is over: a client that is never
/// answered cannot send again.
async fn deliver(gate: &Gate, incoming: Incoming, peer: SocketAddr, stop: &Stop) {
    let end = Instant::now() + gate.config.request_timeout;
    loop {
        let taken = match gate.turn().await {
            Ok(_turn) => gate.take(incoming.clone()).await.map(|_| ()),
            Err(rejection) => Err(rejection),
        };
        let Err(rejection) = taken else { return };
        let rejection = gate.refuse(rejection);
        let over = Instant::now() + RETRY_PAUSE > end || stop.is_requested();
        if over {
            let samples = incoming.samples();
            let lost =
                if rejection.fault == RequestFault::InFlight { "no turn" } else { "no store" };
            gate.metrics.lost_line_samples.inc_by(samples as u64);
            let error = &rejection.text;
            tracing::warn!(%peer, samples, why = lost, %error, "samples of a line socket are lost");
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a stream that comes in pieces of `piece` bytes; `None` for one that is too long.
    fn cut(stream: &str, piece: usize, bytes_max: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(bytes_max);
        let mut found = Vec::new();
        let pieces = stream.as_bytes().chunks(piece).map(|piece| (piece, false));
        for (piece, ended) in pieces.chain([(&b""[..], true)]) {
            lines.room().extend_from_slice(piece);
            while let Some(line) = lines.next(ended) {
                found.push(line.ok().map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
        found
    }

    #[test]
    fn lines_are_cut_however_they_arrive() {
        let line = |text: &str| Some(text.to_owned());
        for piece in 1..20 {
            assert_eq!(
                cut("ab\n\ncd\r\ne", piece, 10),
                [line("ab"), line(""), line("cd\r"), line("e")]
            );
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_once_and_the_next_is_read() {
        for piece in 1..40 {
            let found = cut("abcdefghijklmnopqrstuvwxyz\nok\nabcdef", piece, 5);
            assert_eq!(found, [None, Some("ok".to_owned()), None], "{piece}");
        }
    }
}
