//! What a role is given at its start, and how its tasks are stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use model::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::listener::Connection;
use crate::{Clock, TcpSettings, http_client, server, tcp};

/// How long one task may take to stop before it is cut off.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Handed to every role's `start`. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// The time.
    pub clock: Clock,
    /// For talking to other services.
    pub http: reqwest::Client,
    shared: Arc<Shared>,
    tasks: Tasks,
    reload: watch::Sender<u64>,
}

impl Context {
    /// A context for a process or a test. `name` appears in logs and on `/version`.
    pub fn new(name: &'static str, clock: Clock) -> anyhow::Result<Self> {
        let (reload, _) = watch::channel(0);
        Ok(Self {
            clock,
            http: http_client()?,
            shared: Shared::new(name),
            tasks: Tasks::default(),
            reload,
        })
    }

    /// A context for one role of this process: its own metrics and readiness, the same tasks, clock and client.
    pub fn for_role(&self, role: &'static str) -> Self {
        Self { shared: Shared::new(role), ..self.clone() }
    }

    /// The role's name.
    pub fn role(&self) -> &'static str {
        self.shared.role
    }

    /// The metrics of this role. Keep the guard only while registering.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds text to the metrics of this role, for kinds of metrics that the registry does not know. Each call of
    /// `put` appends whole families in OpenMetrics' form, without the closing `# EOF`.
    pub fn add_metrics_text(&self, put: impl Fn(&mut String) + Send + Sync + 'static) {
        let mut texts = self.shared.metrics_texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.push(Box::new(put));
    }

    /// Says on `/-/ready` that the role lacks something, and why. It serves what it can all the same.
    pub fn lacks(&self, what: &'static str, why: impl Into<String>) {
        let why = why.into();
        let mut last = self.shared.last_lack.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((self.clock.now(), format!("{what}: {why}")));
        self.shared.lacking_mut().insert(what, why);
    }

    /// What the role lacks now, and why.
    pub fn lacking(&self) -> BTreeMap<&'static str, String> {
        self.shared.lacking()
    }

    /// The last thing that the role lacked and why, also when it has it again.
    pub fn last_lack(&self) -> Option<(Timestamp, String)> {
        self.shared.last_lack.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes back what [`Context::lacks`] said.
    pub fn has(&self, what: &'static str) {
        self.shared.lacking_mut().remove(what);
    }

    /// Runs a task until it ends or the process stops; at the stop it is dropped at its next `.await`.
    /// A task that panics ends the process: a role that is silently half alive is worse than a restart.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_graceful(name, move |stop: Stop| async move {
            tokio::select! {
                () = task => {}
                () = stop.requested() => {}
            }
        });
    }

    /// Runs a task that is told when to stop and then has ten seconds to finish its work.
    pub fn spawn_graceful<F, T>(&self, name: &'static str, task: F)
    where
        F: FnOnce(Stop) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let token = CancellationToken::new();
        self.tasks.add(self.role(), name, token.clone(), task(Stop(token)));
    }

    /// Serves `routes` and the endpoints every role has; returns the bound address.
    pub async fn listen(&self, addr: SocketAddr, routes: Router) -> anyhow::Result<SocketAddr> {
        server::listen(self, addr, routes).await
    }

    /// Serves another protocol than HTTP: every connection is handed to `serve`, which is told when to stop and is
    /// waited for. Returns the bound address.
    pub async fn listen_tcp<F, T>(
        &self,
        settings: TcpSettings,
        serve: F,
    ) -> anyhow::Result<SocketAddr>
    where
        F: Fn(Connection, SocketAddr, Stop) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        tcp::listen(self, settings, serve).await
    }

    /// Changes whenever the operator asks for a reload (SIGHUP).
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reload.subscribe()
    }

    /// Asks every role that listens to [`Context::reloads`] to read its files again.
    pub fn request_reload(&self) {
        self.reload.send_modify(|count| *count += 1);
    }

    /// Stops the tasks of all roles, the last started first, each with a deadline and a log line.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// Resolves when a task has panicked, with its name.
    pub(crate) async fn task_failed(&self) -> &'static str {
        self.tasks.failed().await
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("role", &self.role()).finish_non_exhaustive()
    }
}

/// Tells a task that it is to stop.
#[derive(Debug, Clone)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Resolves when the task is to stop.
    pub async fn requested(self) {
        self.0.cancelled().await;
    }

    /// Whether the task is to stop.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for `span` on the clock; `false` when the stop came first.
    pub async fn sleep(&self, clock: &Clock, span: Duration) -> bool {
        tokio::select! {
            () = clock.sleep(span) => true,
            () = self.0.cancelled() => false,
        }
    }
}

type MetricsText = Box<dyn Fn(&mut String) + Send + Sync>;

pub(crate) struct Shared {
    role: &'static str,
    registry: Mutex<Registry>,
    metrics_texts: Mutex<Vec<MetricsText>>,
    lacking: Mutex<BTreeMap<&'static str, String>>,
    last_lack: Mutex<Option<(Timestamp, String)>>,
}

impl Shared {
    fn new(role: &'static str) -> Arc<Self> {
        Arc::new(Self {
            role,
            registry: Mutex::default(),
            metrics_texts: Mutex::default(),
            lacking: Mutex::default(),
            last_lack: Mutex::default(),
        })
    }

    pub(crate) fn role(&self) -> &'static str {
        self.role
    }

    pub(crate) fn encode_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode_registry(&mut text, &registry)?;
        drop(registry);
        let texts = self.metrics_texts.lock().unwrap_or_else(PoisonError::into_inner);
        for put in texts.iter() {
            put(&mut text);
        }
        prometheus_client::encoding::text::encode_eof(&mut text)?;
        Ok(text)
    }

    pub(crate) fn lacking(&self) -> BTreeMap<&'static str, String> {
        self.lacking_mut().clone()
    }

    fn lacking_mut(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Tasks {
    stop_deadline: Duration,
    running: Arc<Mutex<Vec<Task>>>,
    failed: watch::Sender<Option<&'static str>>,
}

struct Task {
    role: &'static str,
    name: &'static str,
    token: CancellationToken,
    handle: JoinHandle<()>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            stop_deadline: STOP_DEADLINE,
            running: Arc::default(),
            failed: watch::channel(None).0,
        }
    }
}

impl Tasks {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where tasks are started, so all have a name and a stop"
    )]
    fn add(
        &self,
        role: &'static str,
        name: &'static str,
        token: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let failed = self.failed.clone();
        let inner = tokio::spawn(task);
        let handle = tokio::spawn(async move {
            // Cutting this watcher off must cut the task off too.
            let _guard = AbortOnDrop(inner.abort_handle());
            if inner.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(role, task = name, "a task panicked; the process stops");
                failed.send_replace(Some(name));
            }
        });
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|task| !task.handle.is_finished());
        running.push(Task { role, name, token, handle });
    }

    async fn stop(&self) {
        loop {
            let last = self.running.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut task) = last else { return };
            task.token.cancel();
            match tokio::time::timeout(self.stop_deadline, &mut task.handle).await {
                Ok(_) => tracing::debug!(role = task.role, task = task.name, "stopped"),
                Err(_) => {
                    task.handle.abort();
                    tracing::warn!(
                        role = task.role,
                        task = task.name,
                        "did not stop in time and was cut off"
                    );
                }
            }
        }
    }

    async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(name) = *failed.borrow_and_update() {
                return name;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context::new("test", Clock::manual(model::Timestamp(0))).expect("a client can be built")
    }

    #[tokio::test]
    async fn tasks_stop_in_the_reverse_order_of_their_start() {
        let context = context();
        let order = Arc::new(Mutex::new(Vec::new()));
        for name in ["first", "second", "third"] {
            let order = Arc::clone(&order);
            context.spawn_graceful(name, move |stop| async move {
                stop.requested().await;
                order.lock().unwrap().push(name);
            });
        }
        context.stop().await;
        assert_eq!(*order.lock().unwrap(), ["third", "second", "first"]);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named() {
        let context = context();
        context.spawn("fragile", async { panic!("on purpose") });
        assert_eq!(context.task_failed().await, "fragile");
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_cut_off_at_its_deadline() {
        let mut context = context();
        context.tasks.stop_deadline = Duration::from_millis(20);
        let held = Arc::new(());
        let in_task = Arc::clone(&held);
        context.spawn_graceful("stubborn", move |_| async move {
            let _held = in_task;
            std::future::pending::<()>().await;
        });
        context.stop().await;
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn every_role_serves_health_readiness_version_and_metrics() {
        let context = context().for_role("judge");
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        context.registry().register("judge_ticks", "Ticks", counter);
        let bound = context
            .listen(([127, 0, 0, 1], 0).into(), Router::new())
            .await
            .expect("port 0 is free");
        let get = |path: &str| context.http.get(format!("http://{bound}{path}")).send();

        assert_eq!(get("/-/healthy").await.unwrap().text().await.unwrap(), "ok\n");
        context.lacks("alarm", "connection refused");
        let answer = get("/-/ready").await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
            (503, "alarm: connection refused\n")
        );
        context.has("alarm");
        let last = context.last_lack().map(|(_, why)| why);
        assert_eq!(last.as_deref(), Some("alarm: connection refused"));
        assert_eq!(get("/-/ready").await.unwrap().status(), 200);
        assert!(get("/version").await.unwrap().text().await.unwrap().contains(r#""role":"judge""#));
        assert!(
            get("/metrics").await.unwrap().text().await.unwrap().contains("judge_ticks_total 0")
        );
        context.stop().await;
        assert!(get("/-/healthy").await.is_err());
    }

    #[tokio::test]
    async fn a_busy_port_is_named_with_a_way_out() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = holder.local_addr().unwrap();
        let error = context().listen(addr, Router::new()).await.expect_err("the port is taken");
        assert!(
            error.to_string().starts_with(&format!("test cannot listen on {addr}: ")),
            "{error}"
        );
        assert_eq!(crate::StartError::reason_of(&error), crate::ExitReason::Environment);
    }
}
