//! Redis and MariaDB as real processes, each on a free port with its data in a temporary folder.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Process, eventually, free_port, program};

const START: Duration = Duration::from_secs(30);

/// A redis-server; killed when dropped. What it answered survives [`Redis::kill`] and
/// [`Redis::start_again`].
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    port: u16,
    folder: TempDir,
    more: Vec<String>,
    process: Process,
}

impl Redis {
    /// Starts a server without data and waits until it answers. `None` when redis-server is not
    /// installed, see [`program`].
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// [`Redis::start`] with more arguments, as `--requirepass`.
    pub async fn start_with(more: &[&str]) -> Option<Self> {
        let program = program("redis-server")?;
        let (port, folder) =
            (free_port(), tempfile::tempdir().expect("the temporary folder is writable"));
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let process = Process::start(&program, redis_arguments(port, &folder, &more));
        let server = Self { program, port, folder, more, process };
        server.wait().await;
        Some(server)
    }

    /// [`Redis::start`] as the one node of a cluster. The port of its bus is a free one too: Redis would take its own plus
    /// 10,000, which may be an outgoing connection's.
    pub async fn start_as_cluster() -> Option<Self> {
        let bus = free_port().to_string();
        Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.process =
            Process::start(&self.program, redis_arguments(self.port, &self.folder, &self.more));
        self.wait().await;
    }

    /// The process, to be paused and continued with signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    async fn wait(&self) {
        eventually("redis-server answers", START, async || answers_ping(self.port).await).await;
    }
}

// The append-only file is written before a command is answered, so a killed server loses nothing.
fn redis_arguments(port: u16, folder: &TempDir, more: &[String]) -> Vec<String> {
    let (port, folder) = (port.to_string(), folder.path().display().to_string());
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--dir",
        &folder,
        "--save",
        "",
        "--appendonly",
        "yes",
    ];
    arguments.into_iter().map(str::to_owned).chain(more.iter().cloned()).collect()
}

/// `PONG`, or that a password is wanted; not `LOADING`.
async fn answers_ping(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.ok()?;
    matches!(&answer, b"+PONG\r\n" | b"-NOAUTH").then_some(())
}

/// A MariaDB server; killed when dropped. What it committed survives [`MariaDb::kill`] and
/// [`MariaDb::start_again`].
#[derive(Debug)]
pub struct MariaDb {
    program: PathBuf,
    client: PathBuf,
    port: u16,
    folder: TempDir,
    process: Process,
}

impl MariaDb {
    /// The password of `root`.
    pub const PASSWORD: &'static str = "s3cret/@:é";

    /// Installs and starts a server, and waits until it answers. `None` when MariaDB is not
    /// installed, see [`program`]. Takes about two seconds: start one for many tests.
    pub async fn start() -> Option<Self> {
        let (install, program, client) =
            (program("mariadb-install-db")?, program("mariadbd")?, program("mariadb")?);
        let (port, folder) =
            (free_port(), tempfile::tempdir().expect("the temporary folder is writable"));
        let mut install = Command::new(install);
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]);
        install
            .args(["--skip-name-resolve", SMALL_LOG, PLAIN_IO])
            .args(user())
            .args(folders(&folder));
        let done = install.output().expect("mariadb-install-db can be run");
        assert!(done.status.success(), "mariadb-install-db: {done:?}");
        let process = Process::start(&program, mariadb_arguments(port, &folder));
        let server = Self { program, client, port, folder, process };
        server.wait("").await;
        server.run("", &format!("ALTER USER root@localhost IDENTIFIED BY '{}'", Self::PASSWORD));
        server.run(
            Self::PASSWORD,
            &format!("GRANT ALL ON *.* TO saker@127.0.0.1 IDENTIFIED BY '{}'", Self::PASSWORD),
        );
        Some(server)
    }

    /// Makes an empty database and returns its address, password included.
    pub fn create_database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        format!("mysql://saker:s3cret%2F%40%3A%C3%A9@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL as `root`.
    pub fn sql(&self, text: &str) {
        self.run(Self::PASSWORD, text);
    }

    /// Kills the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.process = Process::start(&self.program, mariadb_arguments(self.port, &self.folder));
        self.wait(Self::PASSWORD).await;
    }

    /// The process, to be paused and continued with signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    async fn wait(&self, password: &str) {
        eventually("mariadbd answers", START, async || {
            let done = self.command(password, "SELECT 1").output().ok()?;
            done.status.success().then_some(())
        })
        .await;
    }

    fn run(&self, password: &str, text: &str) {
        let done = self.command(password, text).output().expect("the client can be run");
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn command(&self, password: &str, text: &str) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("--no-defaults").arg(socket(&self.folder)).args(["--user=root", "--batch"]);
        command
            .args(["--default-character-set=utf8mb4", "--execute", text])
            .env("MYSQL_PWD", password);
        command
    }
}

// 96 MB unless set, which a temporary folder may not have for each server.
const SMALL_LOG: &str = "--innodb-log-file-size=8M";
// Several servers with io_uring need more locked memory than a user is allowed.
const PLAIN_IO: &str = "--innodb-use-native-aio=0";

fn mariadb_arguments(port: u16, folder: &TempDir) -> Vec<String> {
    let mut arguments = vec![
        "--no-defaults".to_owned(),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--skip-name-resolve".to_owned(),
        "--innodb-buffer-pool-size=32M".to_owned(),
        // What was committed survives the end of the process, not a power cut: tests make many
        // tables.
        "--innodb-flush-method=nosync".to_owned(),
        SMALL_LOG.to_owned(),
        PLAIN_IO.to_owned(),
        socket(folder),
    ];
    arguments.extend(folders(folder));
    arguments.extend(user().map(str::to_owned));
    arguments
}

// Servers that share a folder for temporary files get in each other's way.
fn folders(folder: &TempDir) -> [String; 2] {
    let path = folder.path().display();
    [format!("--datadir={path}/data"), format!("--tmpdir={path}")]
}

fn socket(folder: &TempDir) -> String {
    format!("--socket={}", folder.path().join("socket").display())
}

/// MariaDB runs as root only when told so.
fn user() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("--user=root")
}
