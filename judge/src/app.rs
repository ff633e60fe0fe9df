//! The wiring of judge, in the order of its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Context, Door, StartError};
use db::{Db, Trail};
use state::State;
use storage::{Reader, Writer};
use tokio::sync::Semaphore;

use crate::alarm::{Alarm, AlarmConfig};
use crate::board::Board;
use crate::deliver::Delivery;
use crate::documents::Documents;
use crate::eval::{Alone, Evaluator};
use crate::http::{self, App};
use crate::manage::Manager;
use crate::metrics::Metrics;
use crate::pass::Passes;
use crate::rule_fault::Fault;
use crate::rule_set::RuleSource;
use crate::shard::Shard;
use crate::template::Surroundings;
use crate::tick::Ticker;
use crate::{Config, scheduler};

/// Backtests at a time: each may read as much as a large query.
const BACKTESTS_MAX: usize = 2;
/// The setting that names the file of tokens.
const TOKEN_FILE: &str = "judge.token_file";

/// What judge needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where rules read.
    pub reader: Reader,
    /// Where recorded series and the series of alerts go.
    pub writer: Writer,
    /// Leases and the state of the alerts.
    pub state: State,
    /// Rule groups created by API.
    pub db: Db,
}

/// Starts judge; returns the address it listens on. A rule file with a fault is a usage error that tells all
/// faults.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let Deps { reader, writer, state, db } = deps;
    let alarms = open_alarms(&config)?;
    let addresses: Vec<&str> = alarms.iter().map(|alarm| alarm.url.as_str()).collect();
    let metrics = Metrics::register(context, &addresses, config.outbox_alerts_max);
    let source = RuleSource::open(context.clone(), db.clone(), config.clone(), metrics.clone());
    let rules = Arc::new(source.await.map_err(|faults| StartError::usage(all_of(&faults)))?);
    let door = Arc::new(Door::open(TOKEN_FILE, &config.token_file)?);
    let shard = Arc::new(Shard::new(
        state.clone(),
        context.clock.clone(),
        config.owner(),
        config.lease_time,
        rules.subscribe(),
    ));
    let (limits, external) = (config.outbox_limits(), config.external_labels.clone());
    let delivery = Delivery::new(alarms, limits, external, metrics.clone(), Arc::clone(&shard));
    let links = config.links();
    let surroundings = Surroundings {
        external_labels: config.external_labels.clone(),
        external_url: links.base().to_owned(),
    };
    let arrivals = reader.arrivals();
    let (query_timeout, settle_time) = (config.query_timeout, config.settle_time);
    // What was stopped for longer than its lease writes nothing.
    let gate = Arc::clone(&shard);
    let writer = writer.guarded(move || gate.stands());
    let ticker = Arc::new(Ticker {
        context: context.clone(),
        evaluator: Evaluator {
            reader,
            writer,
            query_timeout,
            rules_max: config.concurrent_rules_max,
            settle_time,
            surroundings,
            metrics: metrics.clone(),
            alone: Alone::default(),
            passes: Passes::new(metrics.clone(), arrivals.clone()),
        },
        documents: Documents::new(state),
        shard,
        delivery: delivery.clone(),
        board: Board::default(),
        metrics,
        external_labels: config.external_labels,
        links,
    });

    // The port comes first: a second judge of the same name ends here, before it could take the leases of the
    // first.
    let manager = Manager {
        clock: context.clock.clone(),
        db: db.clone(),
        rules: Arc::clone(&rules),
        trail: Trail::new(),
        groups_max: config.groups_max,
    };
    let (metrics, ticker_of_app) = (ticker.metrics.clone(), Arc::clone(&ticker));
    let app = App {
        db,
        rules: Arc::clone(&rules),
        manager,
        door: Arc::clone(&door),
        metrics,
        ticker: ticker_of_app,
        backtests: Semaphore::new(BACKTESTS_MAX),
    };
    let bound = context.listen(config.listen, http::routes(Arc::new(app))).await?;
    delivery.start(context);
    context.spawn("tokens", follow_tokens(door, context.clone(), config.token_file));
    context.spawn("look at the other judges", look_around(Arc::clone(&ticker)));
    context.spawn(
        "rule reload",
        follow_rules(Arc::clone(&rules), context.clone(), config.database_poll),
    );
    let scheduled = rules.subscribe();
    context.spawn_graceful("rule scheduler", move |stop| {
        scheduler::run(ticker, scheduled, arrivals, config.concurrent_groups_max, stop)
    });
    Ok(bound)
}

async fn look_around(ticker: Arc<Ticker>) {
    loop {
        ticker.look().await;
        ticker.context.clock.sleep(ticker.shard.pause()).await;
    }
}

/// Reads the tokens again when the operator asks for it.
async fn follow_tokens(door: Arc<Door>, context: Context, file: PathBuf) {
    let mut reloads = context.reloads();
    while reloads.changed().await.is_ok() {
        match door.reload(&file) {
            Ok(()) => context.has(TOKEN_FILE),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the tokens stay as they were");
                context.lacks(TOKEN_FILE, error);
            }
        }
    }
}

/// Reads the rules again when the operator asks for it, and the database now and then.
async fn follow_rules(rules: Arc<RuleSource>, context: Context, database_poll: Duration) {
    let mut reloads = context.reloads();
    loop {
        tokio::select! {
            asked = reloads.changed() => match asked {
                Ok(()) => drop(rules.reload().await),
                Err(_) => return,
            },
            () = context.clock.sleep(database_poll) => drop(rules.poll_database().await),
        }
    }
}

/// A secret that cannot be read ends the start: without it nobody would be told anything.
fn open_alarms(config: &Config) -> anyhow::Result<Vec<Alarm>> {
    let open = |alarm: AlarmConfig| Alarm::open(alarm, &config.alert_relabel);
    config.all_alarms().into_iter().map(open).collect()
}

fn all_of(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    format!("the rules cannot be used:\n  {}", lines.join("\n  "))
}
