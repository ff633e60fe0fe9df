//! Open-Falcon's JSON-RPC on a raw connection: `Transfer.Ping` and `Transfer.Update`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use daemon::{Connection, Stop};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use wire::falcon_json::{self, DecodeError, PushReply};
use wire::json_rpc::{self, Found, Splitter};

use crate::gate::{Counted, Gate, Turn};
use crate::metrics::{Protocol, RequestFault};
use crate::receive::{Rejection, falcon};

const PING: &str = "Transfer.Ping";
const UPDATE: &str = "Transfer.Update";
/// What a connection may send before it needs a turn: a heartbeat's worth, so that thousands of
/// them take little memory.
const BYTES_WITHOUT_TURN_MAX: usize = 16 << 10;
/// What is read at a time at least.
const READ_BYTES: usize = 2 << 10;

/// Answers the calls of one connection until the client goes, is silent for
/// `rpc_idle_timeout`, or sends something that is no request.
pub(crate) async fn serve(gate: Arc<Gate>, connection: Connection, peer: SocketAddr, stop: Stop) {
    let _counted = Counted::one(&gate.metrics.rpc_connections);
    let mut session =
        Session { gate: &gate, connection, buffer: Vec::new(), splitter: Splitter::default() };
    loop {
        let asked = match session.next(&stop).await {
            Ok(Some(asked)) => asked,
            Ok(None) => return,
            Err(rejection) => {
                let rejection = gate.refuse(rejection);
                tracing::debug!(%peer, error = %rejection.text, "a JSON-RPC connection is closed");
                return;
            }
        };
        if !session.answer(asked).await {
            return;
        }
    }
}

/// A request whose bytes are in the buffer.
struct Asked<'g> {
    end: usize,
    turn: Option<Turn<'g>>,
}

struct Session<'g> {
    gate: &'g Gate,
    connection: Connection,
    buffer: Vec<u8>,
    splitter: Splitter,
}

impl<'g> Session<'g> {
    /// The next request; `None` when the connection is to be closed without a fault.
    async fn next(&mut self, stop: &Stop) -> Result<Option<Asked<'g>>, Rejection> {
        let config = &self.gate.config;
        let mut turn = None;
        let mut deadline = Instant::now() + config.rpc_idle_timeout;
        let mut begun = false;
        loop {
            match self
                .splitter
                .find(&self.buffer)
                .map_err(|error| Rejection::malformed(error.to_string()))?
            {
                Found::Object(end) => return Ok(Some(Asked { end, turn })),
                Found::Nothing => self.buffer.clear(),
                Found::Partial if !begun => {
                    begun = true;
                    deadline = Instant::now() + config.request_timeout;
                }
                Found::Partial => {}
            }
            if self.buffer.len() > config.rpc_object_bytes_max {
                let text = format!(
                    "a call is longer than {} bytes (transfer.rpc_object_bytes_max)",
                    config.rpc_object_bytes_max
                );
                return Err(Rejection::too_large(text));
            }
            if turn.is_none() && self.buffer.len() > BYTES_WITHOUT_TURN_MAX {
                turn = Some(self.gate.turn().await?);
            }
            self.buffer.reserve(READ_BYTES);
            tokio::select! {
                read = self.connection.read_buf(&mut self.buffer) => match read {
                    Ok(0) | Err(_) => return Ok(None),
                    Ok(_) => {}
                },
                () = tokio::time::sleep_until(deadline) => {
                    return if begun { Err(too_slow()) } else { Ok(None) };
                }
                () = stop.clone().requested() => return Ok(None),
            }
        }
    }

    /// Answers a request; false when the connection is to be closed.
    async fn answer(&mut self, asked: Asked<'g>) -> bool {
        let object = &self.buffer[..asked.end];
        let Some(reply) = reply_to(self.gate, object, asked.turn).await else { return false };
        self.buffer.drain(..asked.end);
        if self.buffer.is_empty() {
            // A large call is not to be paid for by the whole life of its connection.
            self.buffer = Vec::new();
        }
        let writing = self.connection.write_all(reply.as_bytes());
        let written = tokio::time::timeout(self.gate.config.request_timeout, writing).await;
        matches!(written, Ok(Ok(())))
    }
}

fn too_slow() -> Rejection {
    Rejection {
        fault: RequestFault::Timeout,
        ..Rejection::malformed("a call came too slowly".to_owned())
    }
}

/// The reply to an object; `None` when it is no request.
async fn reply_to(gate: &Gate, object: &[u8], turn: Option<Turn<'_>>) -> Option<String> {
    let begun = gate.clock.now();
    let Ok(request) = json_rpc::parse(object) else {
        gate.metrics.refused_request(RequestFault::Malformed);
        return None;
    };
    let called = request.call(&[PING, UPDATE]);
    let outcome = match called {
        Ok((PING, _)) => {
            return Some(json_rpc::write_result(request.id, &BTreeMap::from([("code", 0)])));
        }
        Ok((_, list)) => update(gate, list, turn).await,
        Err(error) => Err(Rejection::malformed(error)),
    };
    Some(match outcome {
        Ok((total, invalid)) => {
            let latency = gate.clock.now().since(begun).as_millis() as u64;
            json_rpc::write_result(request.id, &PushReply::success(total, invalid, latency).data)
        }
        Err(rejection) => write_rejection(request.id, &gate.refuse(rejection)),
    })
}

fn write_rejection(id: Option<&RawValue>, rejection: &Rejection) -> String {
    json_rpc::write_error(id, rejection.text.trim_end())
}

/// How many samples were received, and how many of them refused.
async fn update(
    gate: &Gate,
    list: &str,
    turn: Option<Turn<'_>>,
) -> Result<(usize, usize), Rejection> {
    let _turn = match turn {
        Some(turn) => turn,
        None => gate.turn().await?,
    };
    let samples_max = gate.config.samples_per_request_max;
    let decoded = falcon_json::decode(list.as_bytes(), gate.clock.now(), samples_max);
    let decoded = decoded.map_err(|error| match error {
        DecodeError::NotAList(_) => Rejection::malformed(format!(
            "json: cannot unmarshal {} into Go value of type []*model.MetricValue",
            json_rpc::kind_of(list)
        )),
        DecodeError::TooManySamples { .. } => Rejection::too_large(error.to_string()),
    })?;
    let incoming = falcon::incoming(Protocol::JsonRpc, decoded, &gate.known);
    let taking = tokio::time::timeout(gate.config.request_timeout, gate.take(incoming));
    let verdict = taking.await.map_err(|_| too_slow())??;
    Ok((verdict.received, verdict.refusals.faults()))
}
