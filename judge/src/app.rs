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
use crate::pass::Passes;
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

/// Starts judge; returns the address it listens on. A rule file with a fault is a usage error that tells all
/// faults.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let Deps { reader, writer, state, db } = deps;
    let metrics = Metrics::register(context, &config.alarm_urls, config.outbox_alerts_max);
    let source = RuleSource::open(context.clone(), db.clone(), config.clone(), metrics.clone());
    let rules = Arc::new(source.await.map_err(|faults| StartError::usage(all_of(&faults)))?);
    let shard = Arc::new(Shard::new(
        state.clone(),
        context.clock.clone(),
        config.owner(),
        config.lease_time,
        rules.subscribe(),
    ));
    let delivery =
        Delivery::new(&config.alarm_urls, config.outbox_limits(), metrics.clone(), shard.clone());
    let links = config.links();
    let surroundings = Surroundings {
        external_labels: config.external_labels.clone(),
        external_url: links.base().to_owned(),
    };
    let arrivals = reader.arrivals();
    let (query_timeout, settle_time) = (config.query_timeout, config.settle_time);
    // What was stopped for longer than its lease writes nothing.
    let gate = shard.clone();
    let writer = writer.guarded(move || gate.stands());
    let evaluated = metrics.clone();
    let ticker = Arc::new(Ticker {
        context: context.clone(),
        evaluator: Evaluator {
            reader,
            writer,
            query_timeout,
            rules_max: config.concurrent_rules_max,
            settle_time,
            surroundings,
            metrics: evaluated,
            passes: Passes::new(metrics.clone(), arrivals.clone()),
        },
        state,
        shard,
        delivery: delivery.clone(),
        board: Board::default(),
        metrics,
        external_labels: config.external_labels,
        links,
    });

    // The port comes first: a second judge of the same name ends here, before it could take the leases of the
    // first.
    let app =
        App { clock: context.clock.clone(), db, rules: rules.clone(), ticker: ticker.clone() };
    let bound = context.listen(config.listen, http::routes(Arc::new(app))).await?;
    delivery.start(context);
    context.spawn("look at the other judges", look_around(ticker.clone()));
    context
        .spawn("rule reload", follow_rules(rules.clone(), context.clone(), config.database_poll));
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
