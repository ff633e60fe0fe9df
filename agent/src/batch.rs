//! From readings to a request: samples of one slot, and now and then what the metrics mean.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Metadata, Sample, Series, Timestamp};

use crate::catalogue::Group;
use crate::outbox::Batch;
use crate::rounds::Found;

/// How often the metadata of a group goes along with its samples: often enough for a transfer or a store that
/// was replaced to learn it soon, and a small part of what is sent.
const METADATA_INTERVAL: Duration = Duration::from_secs(600);

/// Encodes what was found in slots.
#[derive(Debug, Default)]
pub struct Batcher {
    metadata_sent: BTreeMap<Group, Timestamp>,
}

impl Batcher {
    /// One request with all that was found in `slot`.
    pub fn encode(&mut self, slot: Timestamp, found: Vec<Found>) -> Batch {
        let mut metadata = Vec::new();
        let mut series = Vec::with_capacity(found.iter().map(|found| found.readings.len()).sum());
        for Found { group, interval, readings } in found {
            if self.is_metadata_due(group, slot) {
                metadata.extend(group.metadata(interval));
            }
            series.extend(readings.into_iter().map(|reading| Series {
                labels: reading.labels,
                samples: vec![Sample { timestamp: slot, value: reading.value }],
            }));
        }
        encode(&series, &metadata)
    }

    fn is_metadata_due(&mut self, group: Group, slot: Timestamp) -> bool {
        let is_due = self
            .metadata_sent
            .get(&group)
            .is_none_or(|sent| slot.since(*sent) >= METADATA_INTERVAL);
        if is_due {
            self.metadata_sent.insert(group, slot);
        }
        is_due
    }
}

/// A request with these series and metadata.
pub fn encode(series: &[Series], metadata: &[(String, Metadata)]) -> Batch {
    let samples = series.iter().map(|series| series.samples.len()).sum();
    Batch::new(wire::remote_write::encode(series, metadata), samples)
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::collect::Reading;

    fn decode(batch: &Batch) -> wire::remote_write::Decoded {
        wire::remote_write::decode(&batch.body, wire::remote_write::Limits::default()).unwrap()
    }

    fn found() -> Vec<Found> {
        let labels = Labels::from_pairs([("__name__", "load_1min"), ("endpoint", "h")]);
        vec![Found {
            group: Group::Load,
            interval: Duration::from_secs(10),
            readings: vec![Reading { labels, value: 0.5 }],
        }]
    }

    #[test]
    fn samples_have_the_time_of_their_slot() {
        let batch = Batcher::default().encode(Timestamp(20_000), found());
        let decoded = decode(&batch);
        assert_eq!(decoded.series[0].samples, [Sample::new(20_000, 0.5)]);
        assert_eq!(batch.samples, 1);
    }

    #[test]
    fn metadata_goes_along_at_first_and_every_ten_minutes() {
        let all = Group::Load.metrics().count();
        let mut batcher = Batcher::default();
        let mut has_metadata = |seconds| {
            let batch = batcher.encode(Timestamp::from_seconds(seconds), found());
            decode(&batch).metadata.len()
        };
        assert_eq!(
            [has_metadata(0), has_metadata(10), has_metadata(590), has_metadata(600)],
            [all, 0, 0, all]
        );
    }
}
