//! A look at one moment, the most frequent question, is answered without decoding where that is possible.

use std::time::Duration;

use model::{STALE_NAN_BITS, Sample, Series, Timestamp};
use promql::{Features, Params, Value, parse_with};
use proptest::prelude::*;
use storage::{Batch, Limits, Storage};

use crate::support::{Content, NOW, content, labels, write};

const LOOKBACK_MILLIS: i64 = 300_000;

/// What each series shows at a moment, looked up in everything that is stored.
fn plain(content: &Content, at: i64) -> Content {
    let is_stale = |bits: u64| bits == STALE_NAN_BITS;
    let newest = |samples: &Vec<(i64, u64)>| {
        let seen = samples.iter().rev().find(|(time, _)| *time <= at);
        seen.filter(|(time, bits)| *time > at - LOOKBACK_MILLIS && !is_stale(*bits)).copied()
    };
    let shown = content.iter().filter_map(|(labels, samples)| {
        newest(samples).map(|(_, bits)| (labels.clone(), vec![(at, bits)]))
    });
    shown.collect()
}

async fn looked(storage: &Storage, text: &str, at: i64) -> Content {
    let expr = parse_with(text, Features::default()).unwrap();
    let params = Params::instant(Timestamp(at));
    let output = storage::query(&storage.reader(), &expr, params, Duration::MAX).await.unwrap();
    let Value::Vector(found) = output.value else { panic!("{text} is a vector") };
    found
        .into_iter()
        .map(|(labels, sample)| (labels, vec![(sample.timestamp.millis(), sample.value.to_bits())]))
        .collect()
}

proptest! {
    #[test]
    fn the_newest_sample_up_to_a_moment_is_seen_whatever_came_before_and_late(
        writes in prop::collection::vec((0..4_usize, 0_i64..900, 0_u8..8), 1..300),
        looks in prop::collection::vec(-100_i64..1_400, 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let storage = Storage::memory(Limits::default());
            for (host, second, value) in writes {
                let value =
                    if value == 0 { f64::from_bits(STALE_NAN_BITS) } else { f64::from(value) };
                let samples = vec![Sample::new(NOW.millis() + second * 1_000, value)];
                let series = vec![Series { labels: labels("m", host), samples }];
                write(&storage, Batch { series, metadata: Vec::new() }).await;
            }
            let stored = content(&storage.reader()).await;
            for second in looks {
                let at = NOW.millis() + second * 1_000;
                prop_assert_eq!(looked(&storage, "m", at).await, plain(&stored, at));
                let earlier = plain(&stored, at - 60_000);
                let earlier: Content = earlier
                    .into_iter()
                    .map(|(labels, samples)| (labels, vec![(at, samples[0].1)]))
                    .collect();
                prop_assert_eq!(looked(&storage, "m offset 1m", at).await, earlier);
            }
            Ok(())
        })?;
    }
}
