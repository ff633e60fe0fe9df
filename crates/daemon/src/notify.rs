//! Tells systemd how the process is: ready, alive, stopping. Without systemd it does nothing.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::{Clock, Context};

/// The two ends of what systemd asks for.
#[derive(Debug)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What this process was started with (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(crate) fn from_environment() -> Self {
        let number = |name| env::var_os(name)?.to_str()?.parse::<u64>().ok();
        // The numbers may be meant for a parent that handed its environment on.
        let is_mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_mine && *usec > 0);
        let to = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            connect(&name)
                .inspect_err(|error| tracing::warn!(%error, "systemd cannot be told anything"))
                .ok()
        });
        Self { to, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Sends one line such as `READY=1`.
    pub(crate) fn tell(&self, line: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(line.as_bytes(), address) {
            tracing::warn!(%error, line, "systemd was not told");
        }
    }

    /// Says that the process is ready, and from then on regularly that it lives: as long as its tasks run.
    pub(crate) fn ready(self, context: &Context) {
        self.tell("READY=1");
        let Some(watchdog) = self.watchdog.filter(|_| self.to.is_some()) else { return };
        context.spawn("watchdog", async move {
            loop {
                self.tell("WATCHDOG=1");
                // Half of what systemd allows, as it advises.
                Clock::System.sleep(watchdog / 2).await;
            }
        });
    }
}

fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(name: &OsStr, listener: &UnixDatagram) -> String {
        let notifier = Notifier { to: Some(connect(name).unwrap()), watchdog: None };
        notifier.tell("READY=1");
        let mut buffer = [0; 64];
        let count = listener.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn systemd_hears_of_it_on_sockets_with_and_without_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(heard(path.as_os_str(), &listener), "READY=1");

        let name = format!("saker-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        assert_eq!(heard(OsStr::new(&format!("@{name}")), &listener), "READY=1");
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_as_long_as_tasks_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = tokio::net::UnixDatagram::bind(&path).unwrap();
        let to = Some(connect(path.as_os_str()).unwrap());
        let context = Context::new("test", Clock::System).unwrap();
        Notifier { to, watchdog: Some(Duration::from_millis(2)) }.ready(&context);
        for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
            let mut buffer = [0; 64];
            let count = listener.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], expected.as_bytes());
        }
        context.stop().await;
    }

    #[test]
    fn without_systemd_nothing_happens() {
        Notifier { to: None, watchdog: None }.tell("READY=1");
    }
}
