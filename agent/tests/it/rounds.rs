//! One slow collector costs only itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::Timestamp;
use prometheus_client::registry::Registry;
use saker_agent::catalogue::Group;
use saker_agent::collect::{Collector, Readings};
use saker_agent::host::file::HostError;
use saker_agent::metrics::Metrics;
use saker_agent::rounds::{Found, Make, Rounds};

type Gate = Arc<Mutex<Option<Receiver<()>>>>;

/// Waits at the gate when there is one, then says 1.
struct Gated {
    metric: &'static str,
    gate: Gate,
}

impl Collector for Gated {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            let _ = gate.recv();
        }
        if self.metric == "load.15min" {
            // Without the hook, whose trace takes longer than the deadline of these tests.
            std::panic::resume_unwind(Box::new("a collector that panics"));
        }
        out.add(self.metric, 1.0);
        Ok(())
    }
}

fn gate() -> (SyncSender<()>, Gate) {
    let (open, wait) = sync_channel(1);
    (open, Arc::new(Mutex::new(Some(wait))))
}

fn rounds(gate: Gate, metrics: &Arc<Metrics>) -> Rounds {
    let make: Make = Arc::new(move |group| match group {
        Group::Cpu => Box::new(Gated { metric: "cpu.idle", gate: Arc::clone(&gate) }),
        Group::Memory => Box::new(Gated { metric: "load.15min", gate: Gate::default() }),
        _ => Box::new(Gated { metric: "load.1min", gate: Gate::default() }),
    });
    let ten = Duration::from_secs(10);
    let groups = [(Group::Cpu, ten), (Group::Load, ten), (Group::Memory, ten)];
    Rounds::new(&groups, Vec::new(), make, Duration::from_millis(400), Arc::clone(metrics))
}

async fn run(rounds: &mut Rounds) -> Vec<Vec<Group>> {
    let (found, late) = rounds.run_slot(Timestamp(10_000)).await;
    let deliveries = [found, rounds.wait_for(late).await];
    deliveries.into_iter().filter(|found| !found.is_empty()).map(groups).collect()
}

fn groups(found: Vec<Found>) -> Vec<Group> {
    found.into_iter().map(|found| found.group).collect()
}

fn faults(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let faults = text
        .lines()
        .filter(|line| line.starts_with("agent_collector_faults_total") && !line.ends_with(" 0"));
    let mut faults: Vec<_> =
        faults.map(|line| line["agent_collector_faults_total".len()..].to_owned()).collect();
    faults.sort();
    faults
}

#[tokio::test]
async fn one_that_hangs_is_cut_off_skipped_and_taken_back_when_it_returns() {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let (open, gate) = gate();
    let mut rounds = rounds(gate, &metrics);
    assert_eq!(run(&mut rounds).await, [vec![Group::Load]]);
    assert_eq!(run(&mut rounds).await, [vec![Group::Load]]);
    let panicked = r#"{group="memory",reason="error"} 2"#;
    assert_eq!(
        faults(&registry),
        [r#"{group="cpu",reason="busy"} 1"#, r#"{group="cpu",reason="timeout"} 1"#, panicked]
    );
    open.send(()).unwrap();
    let back = async || {
        let deliveries = run(&mut rounds).await;
        deliveries[0].contains(&Group::Cpu).then_some(deliveries)
    };
    let deliveries =
        testkit::eventually("the collector is back", Duration::from_secs(5), back).await;
    assert_eq!(deliveries, [vec![Group::Cpu, Group::Load]]);
}

#[tokio::test]
async fn one_that_is_slow_delivers_late_and_the_others_in_time() {
    let metrics = Arc::new(Metrics::default());
    let (open, gate) = gate();
    let mut rounds = rounds(gate, &metrics);
    let (found, late) = rounds.run_slot(Timestamp(10_000)).await;
    assert_eq!(groups(found), [Group::Load]);
    // The others are here although the slow one is still at its gate.
    open.send(()).unwrap();
    assert_eq!(groups(rounds.wait_for(late).await), [Group::Cpu]);
}
