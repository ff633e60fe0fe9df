//! `agent.*`: what the agent costs and whether it loses anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::system::parse_process;
use crate::metrics::Metrics;

/// Ticks of `/proc/PID/stat` in a second, the same on every platform the agent is built for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Own {
    // The agent's own process: it is here, even when the host it watches is under another root.
    stat: KeptFile,
    before: Option<(Duration, u64)>,
    metrics: Arc<Metrics>,
}

impl Own {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { stat: KeptFile::new(Path::new("/"), "proc/self/stat"), before: None, metrics }
    }
}

impl Collector for Own {
    fn collect(&mut self, monotonic: Duration, out: &mut Readings) -> Result<(), HostError> {
        out.add("agent.alive", 1.0);
        out.count("agent.spool.bytes", self.metrics.spool_bytes());
        out.count("agent.samples.dropped", self.metrics.dropped_total());
        let Some((resident_bytes, ticks)) = parse_process(self.stat.read()?) else {
            return Err(self.stat.lacks("columns up to the resident memory"));
        };
        out.count("agent.memory.rss", resident_bytes);
        if let Some(share) = self.before.and_then(|before| share(before, (monotonic, ticks))) {
            out.add("agent.cpu.percent", share);
        }
        self.before = Some((monotonic, ticks));
        Ok(())
    }
}

fn share(before: (Duration, u64), now: (Duration, u64)) -> Option<f64> {
    let elapsed = now.0.checked_sub(before.0)?.as_secs_f64();
    let spent = now.1.checked_sub(before.1)? as f64 / TICKS_PER_SECOND;
    (elapsed > 0.0).then(|| spent * 100.0 / elapsed)
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;

    #[test]
    fn the_share_is_of_the_whole_interval() {
        let seconds = Duration::from_secs;
        assert_eq!(share((seconds(10), 100), (seconds(20), 150)), Some(5.0));
        assert_eq!(share((seconds(10), 100), (seconds(10), 150)), None);
        assert_eq!(share((seconds(10), 100), (seconds(20), 50)), None);
    }

    #[test]
    fn this_very_process_has_memory() {
        let mut own = Own::new(Arc::default());
        let found = lines(|out| own.collect(Duration::ZERO, out).unwrap());
        assert_eq!(found[0], "agent_alive{h} 1");
        let resident =
            found.iter().find_map(|line| line.strip_prefix("agent_memory_rss{h} ")).unwrap();
        assert!(resident.parse::<f64>().unwrap() > 100_000.0, "{resident}");
    }
}
