//! The wiring of the alarm role: read it as its start order.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use db::Db;
use state::State;
use tokio::sync::Notify;

use crate::config::Config;
use crate::http::{self, Api};
use crate::intake;
use crate::metrics::Metrics;
use crate::notify::{Notifier, Receiver};
use crate::queue::{self, Queue};
use crate::upkeep::Upkeep;
use crate::web::{self, Web};

/// What alarm needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Alerts, history, notification log.
    pub db: Db,
    /// The queues of the receivers.
    pub state: State,
}

/// Starts the role; returns the bound address, so port 0 can be asked for.
pub async fn start(config: Config, deps: Deps, ctx: &Context) -> anyhow::Result<SocketAddr> {
    let Deps { db, state } = deps;
    let receivers: Vec<Receiver> = config
        .receivers
        .iter()
        .map(Receiver::from_config)
        .collect::<Result<_, _>>()
        .context("read alarm.receivers")?;
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let metrics = Metrics::register(&mut ctx.registry(), &names);
    let queues: Vec<Queue> = names.iter().map(|name| Queue::of(name, state.clone())).collect();
    let stored = Arc::new(Notify::new());
    let (intake, writer) =
        intake::open(db.clone(), ctx.clock.clone(), config.alerts_max, metrics.clone(), stored.clone());

    for (receiver, queue) in receivers.iter().zip(&queues) {
        let notifier = Notifier {
            receiver: receiver.clone(),
            queue: queue.clone(),
            db: db.clone(),
            clock: ctx.clock.clone(),
            http: ctx.http.clone(),
            metrics: metrics.clone(),
            external_url: config.external_url.clone(),
            repeat_interval: config.repeat_interval,
        };
        ctx.spawn_graceful("notify", move |stop| notifier.run(stop));
    }
    ctx.spawn("queue", queue::fill(db.clone(), queues.clone(), stored, ctx.clock.clone(), metrics.clone()));
    let upkeep = Upkeep {
        db: db.clone(),
        queues,
        clock: ctx.clock.clone(),
        metrics: metrics.clone(),
        repeat_interval: config.repeat_interval,
        retention: config.retention,
    };
    ctx.spawn("upkeep", upkeep.run());
    ctx.spawn("intake", writer.run(config.resolve_timeout));

    let web = Web {
        db: db.clone(),
        clock: ctx.clock.clone(),
        receivers: names,
        zone: config.time_zone().context("find alarm.time_zone")?,
    };
    let listen = config.listen;
    let started_at = ctx.clock.now();
    let api = Api { config, receivers, intake, db, clock: ctx.clock.clone(), metrics, started_at };
    ctx.listen(listen, http::routes(Arc::new(api)).merge(web::routes(Arc::new(web)))).await
}
