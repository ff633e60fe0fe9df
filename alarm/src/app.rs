//! The wiring of the alarm role: read it as its start order.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use channels::link::LinkKeys;
use daemon::{Clock, Context};
use db::Db;
use state::State;
use tokio::sync::Notify;

use crate::config::Config;
use crate::http::{self, Api};
use crate::intake;
use crate::metrics::Metrics;
use crate::mutes::MuteBook;
use crate::notify::messages::Metrics as MessageMetrics;
use crate::notify::office::{Office, Opening};
use crate::notify::{Notifier, Receiver, Way, sender};
use crate::people::{self, People};
use crate::queue::{self, Queue};
use crate::silences::Silences;
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

/// What most parts of the role share; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
}

/// Starts the role; returns the bound address, so port 0 can be asked for.
pub async fn start(config: Config, deps: Deps, ctx: &Context) -> anyhow::Result<SocketAddr> {
    let receivers: Vec<Receiver> = config
        .receivers
        .iter()
        .map(Receiver::from_config)
        .collect::<Result<_, _>>()
        .context("read alarm.receivers")?;
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let metrics = Metrics::register(&mut ctx.registry(), &names);
    let common = Common { db: deps.db, clock: ctx.clock.clone(), metrics };
    let queues: Vec<Queue> = names.iter().map(|name| Queue::of(name, deps.state.clone())).collect();

    let silences = Silences::new(common.db.clone(), config.silences_max);
    // Before the first notification: one that is silenced cannot be taken back.
    silences.load().await.context("read the silences")?;
    let (office, people) = open_office(&config, &common, deps.state.clone(), ctx).await?;
    for receiver in &receivers {
        // Messages of an earlier run are sent also if nothing new happens.
        if let Way::Bots(team) = &receiver.way {
            office.employ(team);
        }
    }
    for (receiver, queue) in receivers.iter().zip(&queues) {
        let notifier = Notifier {
            common: common.clone(),
            receiver: receiver.clone(),
            queue: queue.clone(),
            http: ctx.http.clone(),
            external_url: config.external_url.clone(),
            repeat_interval: config.repeat_interval,
            silences: silences.clone(),
            office: office.clone(),
        };
        ctx.spawn_graceful("notify", move |stop| notifier.run(stop));
    }
    let (repeat_interval, retention) = (config.repeat_interval, config.retention);
    let mut upkeep = Upkeep {
        common: common.clone(),
        queues: queues.clone(),
        repeat_interval,
        retention,
        may_be_untold: true,
        silences: silences.clone(),
        freed_until: None,
    };
    ctx.spawn("silences", silences.clone().follow(ctx.clock.clone()));
    upkeep.offer_rest(ctx.clock.now()).await;
    ctx.spawn("upkeep", upkeep.run());
    let stored = Arc::new(Notify::new());
    ctx.spawn("queue", queue::fill(common.clone(), queues, stored.clone()));
    let (intake, writer) = intake::open(common.clone(), config.alerts_max, stored);
    ctx.spawn("intake", writer.run(config.resolve_timeout));

    let zone = config.time_zone().context("find alarm.time_zone")?;
    let web = web::routes(Arc::new(Web { common: common.clone(), receivers: names, zone }));
    let listen = config.listen;
    let started_at = common.clock.now();
    let api =
        http::routes(Arc::new(Api { common, config, receivers, intake, silences, started_at }));
    ctx.listen(listen, api.merge(people::routes(Arc::new(people))).merge(web)).await
}

/// Mutes, the office with its senders, and what people do with messages.
async fn open_office(
    config: &Config,
    common: &Common,
    state: State,
    ctx: &Context,
) -> anyhow::Result<(Office, People)> {
    let mut mutes_config = config.mutes.clone();
    mutes_config.read_secrets().context("read the secrets of alarm.mutes")?;
    let mutes = MuteBook::new(state.clone());
    // Best before the first message; without the shared state the role starts all the same.
    if let Err(error) = mutes.load(common.clock.now()).await {
        tracing::error!(error = daemon::error_chain(&error), "starting without the mutes");
    }
    ctx.spawn("mutes", mutes.clone().follow(common.clock.clone()));
    let keys = mutes_config.link_keys.iter().map(|key| (key.id, key.key.clone())).collect();
    let opening = Opening {
        common: common.clone(),
        state,
        http: ctx.http.clone(),
        mutes,
        links: LinkKeys { keys },
        metrics: MessageMetrics::register(&mut ctx.registry()),
        zone: config.time_zone().context("find alarm.time_zone")?,
        external_url: config.external_url.clone(),
    };
    let (office, hired) = Office::open(opening);
    ctx.spawn("senders", sender::run(office.clone(), hired, ctx.clone()));
    ctx.spawn("messages", office.clone().look_after(config.retention));
    Ok((office.clone(), People { office, config: mutes_config }))
}
