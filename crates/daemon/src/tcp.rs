//! Listeners for protocols of their own, beside HTTP.

use std::net::SocketAddr;

use axum::serve::Listener;
use tokio::task::JoinSet;

use crate::context::{Context, Stop};
use crate::listener::{BoundedListener, Connection};
use crate::server;

/// A listener that is not HTTP.
#[derive(Debug, Clone, Copy)]
pub struct TcpSettings {
    /// What the task is called in logs.
    pub name: &'static str,
    /// The key of the configuration that holds the address, for the error when it is taken.
    pub key: &'static str,
    /// Where to listen.
    pub addr: SocketAddr,
    /// Connections held at a time; further clients wait in the kernel's backlog.
    pub connections_max: usize,
}

/// Binds and hands every connection to `serve`, until the context stops.
pub(crate) async fn listen<F, T>(
    context: &Context,
    settings: TcpSettings,
    serve: F,
) -> anyhow::Result<SocketAddr>
where
    F: Fn(Connection, SocketAddr, Stop) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let TcpSettings { name, key, addr, connections_max } = settings;
    let listener = server::bind(context.role(), addr, key, connections_max).await?;
    let bound = listener.local_addr()?;
    tracing::info!(role = context.role(), listener = name, address = %bound, "listening");
    context.spawn_graceful(name, move |stop| accept(name, listener, stop, serve));
    Ok(bound)
}

async fn accept<F, T>(name: &'static str, mut listener: BoundedListener, stop: Stop, serve: F)
where
    F: Fn(Connection, SocketAddr, Stop) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        let (connection, peer) = tokio::select! {
            () = stop.clone().requested() => break,
            Some(ended) = open.join_next() => {
                // As with HTTP, a panic costs its connection and not the process.
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!(listener = name, "a connection was given up after a panic");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        open.spawn(serve(connection, peer, stop.clone()));
    }
    drop(listener);
    // Each connection has been told to stop too; the deadline of the task bounds this wait.
    while open.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::Clock;

    fn context() -> Context {
        Context::new("test", Clock::manual(model::Timestamp(0))).expect("a client can be built")
    }

    fn settings(addr: SocketAddr) -> TcpSettings {
        TcpSettings { name: "echo", key: "echo_listen", addr, connections_max: 10 }
    }

    async fn echo_a_byte(mut connection: Connection, _: SocketAddr, stop: Stop) {
        let byte = tokio::select! {
            byte = connection.read_u8() => byte.expect("the client sends one"),
            () = stop.requested() => b'.',
        };
        assert_ne!(byte, b'!', "on purpose");
        connection.write_u8(byte).await.expect("the client reads it");
    }

    async fn ask(addr: SocketAddr, byte: u8) -> String {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        stream.write_u8(byte).await.expect("it reads");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_panic_costs_its_connection_and_not_the_listener() {
        let context = context();
        let addr =
            context.listen_tcp(settings(([127, 0, 0, 1], 0).into()), echo_a_byte).await.unwrap();
        assert_eq!(ask(addr, b'!').await, "");
        assert_eq!(ask(addr, b'a').await, "a");
    }

    #[tokio::test]
    async fn open_connections_are_told_of_the_stop_and_waited_for() {
        let context = context();
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let serve = move |connection, peer, stop| {
            let seen = Arc::clone(&seen);
            async move {
                echo_a_byte(connection, peer, stop).await;
                seen.store(true, Ordering::SeqCst);
            }
        };
        let addr = context.listen_tcp(settings(([127, 0, 0, 1], 0).into()), serve).await.unwrap();
        assert_eq!(ask(addr, b'a').await, "a");
        done.store(false, Ordering::SeqCst);
        let mut open = TcpStream::connect(addr).await.unwrap();
        open.set_nodelay(true).unwrap();
        // Another one is answered, so the first has been accepted.
        assert_eq!(ask(addr, b'b').await, "b");
        done.store(false, Ordering::SeqCst);
        context.stop().await;
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(open.read_u8().await.unwrap(), b'.');
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn a_busy_port_is_named_with_its_key() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = holder.local_addr().unwrap();
        let error =
            context().listen_tcp(settings(addr), echo_a_byte).await.expect_err("the port is taken");
        let text = error.to_string();
        assert!(text.starts_with(&format!("test cannot listen on {addr}: ")), "{text}");
        assert!(text.ends_with("or set another `echo_listen` for test"), "{text}");
    }
}
