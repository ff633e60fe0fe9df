//! The wiring of judge, in the order of its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Context, StartError};
use db::Db;
use state::State;
use storage::{Reader, Writer};

use crate::board::Board;
use crate::deliver::Delivery;
use crate::eval::Evaluator;
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::rule_file::Fault;
use crate::rule_set::RuleSource;
use crate::shard::Shard;
use crate::template::Surroundings;
use crate::tick::Ticker;
use crate::{Config, scheduler};

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

/// Starts judge; returns the address it listens on. A rule file with a fault is a usage error that tells all faults.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context, &config.alarm_urls, config.outbox_alerts_max);
    let source = RuleSource::open(context.clone(), deps.db.clone(), config.clone(), metrics.clone());
    let rules = Arc::new(source.await.map_err(|faults| StartError::usage(all_of(&faults)))?);
    let delivery = Delivery::new(&config.alarm_urls, config.outbox_limits(), metrics.clone());
    let ticker = Arc::new(Ticker {
        context: context.clone(),
        evaluator: evaluator(&config, &deps, &metrics),
        shard: Shard::new(deps.state.clone(), config.owner(), config.lease_time),
        state: deps.state,
        delivery: delivery.clone(),
        board: Board::default(),
        metrics,
        external_labels: config.external_labels.clone(),
        link_base: config.link_base(),
    });

    let app = App { clock: context.clock.clone(), db: deps.db, rules: rules.clone(), ticker: ticker.clone() };
    let bound = context.listen(config.listen, http::routes(Arc::new(app))).await?;
    delivery.start(context);
    context.spawn("lease renewal", renew_leases(ticker.clone(), config.lease_time));
    context.spawn("rule reload", follow_rules(rules.clone(), context.clone(), config.database_poll));
    let (subscription, groups_max) = (rules.subscribe(), config.concurrent_groups_max);
    context
        .spawn_graceful("rule scheduler", move |stop| scheduler::run(ticker, subscription, groups_max, stop));
    Ok(bound)
}

fn evaluator(config: &Config, deps: &Deps, metrics: &Metrics) -> Evaluator {
    Evaluator {
        reader: deps.reader.clone(),
        writer: deps.writer.clone(),
        query_timeout: config.query_timeout,
        settle_time: config.settle_time,
        surroundings: Surroundings {
            external_labels: config.external_labels.clone(),
            external_url: config.link_base(),
        },
        metrics: metrics.clone(),
    }
}

async fn renew_leases(ticker: Arc<Ticker>, lease_time: Duration) {
    loop {
        ticker.context.clock.sleep(lease_time / 3).await;
        ticker.renew_leases().await;
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

fn all_of(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    format!("the rules cannot be used:\n  {}", lines.join("\n  "))
}
