//! The wiring of the alarm role: read it as its start order.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use channels::link::LinkKeys;
use daemon::{Clock, Context, Door, Poster};
use db::Db;
use jiff::tz::TimeZone;
use model::Timestamp;
use state::State;
use tokio::sync::watch;

use crate::claim_end::ClaimEnds;
use crate::claiming::Claimer;
use crate::claims::ClaimStore;
use crate::config::Config;
use crate::dead_man;
use crate::directory_http::{self, Desk};
use crate::directory_store::DirectoryStore;
use crate::dispatch::{self, Dispatch};
use crate::falcon_events::FalconEvents;
use crate::followed::Followed;
use crate::http::{self, Api};
use crate::intake::{self, Intake};
use crate::maintenance::MaintenanceBook;
use crate::metrics::Metrics;
use crate::mutes::MuteBook;
use crate::notify::messages::Metrics as MessageMetrics;
use crate::notify::office::{Office, Opening};
use crate::notify::{Way, failed, redraw, sender};
use crate::people::{self, People};
use crate::plan::Plan;
use crate::queue::Queues;
use crate::routing::{self, store::RoutingStore};
use crate::silence_end::SilenceEnds;
use crate::silences::Silences;
use crate::teller::Teller;
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
    pub(crate) config: Arc<Config>,
    pub(crate) db: Db,
    pub(crate) state: State,
    /// Whether no other instance can have a part in this work: the alerts are in a file that is ours alone, or the
    /// state is.
    pub(crate) is_alone: bool,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) plans: watch::Receiver<Arc<Plan>>,
    pub(crate) queues: Queues,
    pub(crate) silences: Silences,
    pub(crate) claims: ClaimStore,
    pub(crate) maintenance: MaintenanceBook,
    pub(crate) directory: DirectoryStore,
    pub(crate) routing: RoutingStore,
}

/// Starts the role; returns the bound address, so port 0 can be asked for.
pub async fn start(config: Config, deps: Deps, ctx: &Context) -> anyhow::Result<SocketAddr> {
    let plan = Plan::load(&config).context("read the routes and receivers")?;
    for warning in &plan.warnings {
        tracing::warn!("{}: {warning}", config.alertmanager_config.display());
    }
    let metrics = Metrics::register(&mut ctx.registry(), &plan.keys());
    metrics.reloaded(true, ctx.clock.now());
    let config = Arc::new(config);
    let routing = RoutingStore::new(deps.db.clone(), Arc::clone(&config), metrics.clone(), plan);
    let zone = config.time_zone().context("find alarm.time_zone")?;
    // Before anything is read: what an earlier run left in the journal goes into the tables.
    let has_file = deps.db.alerts().keep_journal().await.context("read the journal of alerts")?;
    let is_alone = has_file || !deps.state.is_shared();
    let common = Common {
        is_alone,
        directory: DirectoryStore::new(deps.db.clone(), Arc::clone(&config), zone.clone()),
        silences: Silences::new(deps.db.clone(), config.silences_max),
        claims: ClaimStore::new(deps.db.clone()),
        maintenance: MaintenanceBook::new(deps.db.clone()),
        queues: Queues::new(&deps.state),
        config: Arc::clone(&config),
        db: deps.db,
        state: deps.state,
        clock: ctx.clock.clone(),
        metrics,
        plans: routing.plans(),
        routing,
    };
    // Before the first notification: one that is silenced cannot be taken back.
    common.silences.load().await.context("read the silences")?;
    common.claims.load().await.context("read who took which alert")?;
    let now = ctx.clock.now();
    common.maintenance.load(now).await.context("read the maintenance windows")?;
    ctx.spawn("maintenance", common.maintenance.clone().follow(ctx.clock.clone()));
    common.directory.load().await.context("read users and teams")?;
    common.routing.load().await.context("read the routes and receivers of the database")?;
    for (name, copy) in [
        ("silences", Followed::Silences(common.silences.clone())),
        ("claims", Followed::Claims(common.claims.clone())),
        ("users and teams", Followed::Directory(common.directory.clone())),
        ("routes and receivers", Followed::Routing(Box::new(common.routing.clone()))),
    ] {
        ctx.spawn(name, copy.follow(ctx.clock.clone()));
    }

    let (dispatcher, messages) = dispatch::open(common.is_alone);
    let claimer = Claimer { common: common.clone(), dispatcher: dispatcher.clone() };
    let (office, people) = open_office(&common, &claimer, ctx).await?;
    let tellers = Tellers { context: ctx.clone(), common: common.clone(), office };
    tellers.start_new(&mut HashSet::new());
    ctx.spawn("tellers", tellers.follow());
    let (owner, to_dispatch) = (config.owner(), dispatcher.clone());
    let dispatch = Dispatch { common: common.clone(), owner, messages, dispatcher: to_dispatch };
    ctx.spawn("dispatch", dispatch.run());
    let (to_upkeep, freed_until) = (dispatcher.clone(), None);
    let upkeep = Upkeep {
        common: common.clone(),
        dispatcher: to_upkeep,
        freed_until,
        offered_end: Timestamp::MIN,
    };
    ctx.spawn("upkeep", upkeep.run());
    let ends = SilenceEnds { common: common.clone(), dispatcher: dispatcher.clone() };
    ctx.spawn("silence ends", ends.run());
    let ends = ClaimEnds::new(common.clone(), dispatcher.clone(), people.office.clone());
    ctx.spawn("claim ends", ends.run());
    let (intake, writer) = intake::open(common.clone(), config.alerts_max, dispatcher.clone());
    ctx.spawn("intake", writer.run(config.resolve_timeout));
    ctx.spawn("failed messages", failed::run(people.office.clone(), intake.clone()));
    dead_man::spawn(&common, &dispatcher, &intake, ctx).context("start the dead man's switch")?;
    let inboxes = config.falcon_events.open()?;
    if !inboxes.is_empty() {
        let (common, intake) = (common.clone(), intake.clone());
        let events = FalconEvents { common, intake, dispatcher: dispatcher.clone(), inboxes };
        ctx.spawn("events of Open-Falcon", events.run());
    }
    let reloads = follow_reloads(common.routing.clone(), ctx.reloads(), ctx.clock.clone());
    ctx.spawn("route reload", reloads);

    serve(common, claimer, people, (intake, zone), ctx).await
}

/// Opens the port: API, pages, and what people press.
async fn serve(
    common: Common,
    claimer: Claimer,
    people: People,
    (intake, zone): (Intake, TimeZone),
    ctx: &Context,
) -> anyhow::Result<SocketAddr> {
    let config = Arc::clone(&common.config);
    let door = Arc::new(Door::open("alarm.token_file", &config.token_file)?);
    ctx.spawn("tokens", follow_tokens(Arc::clone(&door), ctx.reloads(), Arc::clone(&config)));
    let desk = Desk { common: common.clone(), door: Arc::clone(&door) };
    let desk = Arc::new(desk);
    let desk = directory_http::routes(Arc::clone(&desk)).merge(routing::http::routes(desk));
    let frame = web::frame(ctx.clock.clone(), zone);
    let mutes = people.office.mutes.clone();
    let web = Web { common: common.clone(), door, claimer: claimer.clone(), mutes };
    let web = web::routes(Arc::new(web), &frame);
    let listen = config.listen;
    let started_at = common.clock.now();
    let api = Api { common, intake, claimer, started_at };
    let people = people::routes(Arc::new(people), &frame);
    ctx.listen(listen, http::routes(Arc::new(api)).merge(people).merge(desk).merge(web)).await
}

/// Reads the tokens again at every reload.
async fn follow_tokens(door: Arc<Door>, mut reloads: watch::Receiver<u64>, config: Arc<Config>) {
    while reloads.changed().await.is_ok() {
        if let Err(error) = door.reload(&config.token_file) {
            tracing::error!(error = format!("{error:#}"), "the tokens stay as they are");
        }
    }
}

/// Mutes, the office with its senders, and what people do with messages.
async fn open_office(
    common: &Common,
    claimer: &Claimer,
    ctx: &Context,
) -> anyhow::Result<(Office, People)> {
    let config = &common.config;
    let mut mutes_config = config.mutes.clone();
    mutes_config.read_secrets().context("read the secrets of alarm.mutes")?;
    let mutes = MuteBook::new(common.state.clone());
    // Best before the first message; without the shared state the role starts all the same.
    if let Err(error) = mutes.load(common.clock.now()).await {
        tracing::error!(error = daemon::error_chain(&error), "starting without the mutes");
    }
    ctx.spawn("mutes", mutes.clone().follow(common.clock.clone()));
    let keys = mutes_config.link_keys.iter().map(|key| (key.id, key.key.clone())).collect();
    let opening = Opening {
        common: common.clone(),
        http: ctx.http.clone(),
        poster: Poster::new()?,
        mutes,
        links: LinkKeys { keys },
        metrics: MessageMetrics::register(&mut ctx.registry()),
        zone: config.time_zone().context("find alarm.time_zone")?,
    };
    let (office, hired) = Office::open(opening);
    ctx.spawn("senders", sender::run(office.clone(), hired, ctx.clone()));
    ctx.spawn("messages", office.clone().look_after(config.retention));
    let (easel, strokes) = redraw::open(&office.metrics);
    ctx.spawn("messages drawn anew", redraw::run(office.clone(), strokes));
    let (office_too, claimer) = (office.clone(), claimer.clone());
    let people = People { office: office_too, config: mutes_config, claimer, easel };
    Ok((office, people))
}

/// Keeps one teller a receiver, also when receivers come by a reload.
struct Tellers {
    context: Context,
    common: Common,
    office: Office,
}

impl Tellers {
    async fn follow(mut self) {
        let mut running: HashSet<String> =
            self.common.plans.borrow_and_update().keys().into_iter().collect();
        while self.common.plans.changed().await.is_ok() {
            self.start_new(&mut running);
        }
    }

    /// A teller whose receiver left the settings rests until it comes back.
    fn start_new(&self, running: &mut HashSet<String>) {
        for receiver in &self.common.plans.borrow().integrations {
            // Messages of an earlier run are sent also if nothing new happens.
            if let Way::Bots(team) = &receiver.way {
                self.office.employ(team);
            }
        }
        for key in self.common.plans.borrow().keys() {
            if !running.insert(key.clone()) {
                continue;
            }
            let teller = Teller {
                common: self.common.clone(),
                queue: self.common.queues.of(&key),
                key,
                owner: uuid::Uuid::new_v4().to_string(),
                office: self.office.clone(),
            };
            self.context.spawn_graceful("notify", move |stop| teller.run(stop));
        }
    }
}

/// Reads the routes and receivers again at every reload.
async fn follow_reloads(routing: RoutingStore, mut reloads: watch::Receiver<u64>, clock: Clock) {
    while reloads.changed().await.is_ok() {
        // Told in the log and in metrics.
        let _ = routing.reload(clock.now());
    }
}
