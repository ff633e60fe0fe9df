//! The consistent hash of Open-Falcon's transfer: 500 points a node on a ring of CRC-32 sums.

use std::collections::BTreeMap;

use crc32fast::Hasher;
use model::{ENDPOINT, Labels, METRIC_NAME};

use super::DestinationSet;

/// Points of a node.
const REPLICAS: u32 = 500;

/// The points of all nodes in order, each with the place of its node in the list.
#[derive(Debug)]
pub(super) struct FalconRing(Vec<(u32, usize)>);

impl FalconRing {
    /// Of nodes by their names. A later node overwrites the equal point of an earlier one.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut points = BTreeMap::new();
        for (at, name) in names.enumerate() {
            for replica in 0..REPLICAS {
                points.insert(crc32fast::hash(format!("{replica}{name}").as_bytes()), at);
            }
        }
        Self(points.into_iter().collect())
    }

    /// The node of the first point behind `key`, round the end, and the next distinct ones.
    pub(super) fn owners(&self, key: u32, count: usize) -> DestinationSet {
        let first = self.0.partition_point(|(point, _)| *point <= key);
        let around = self.0[first..].iter().chain(&self.0[..first]);
        let mut owners = Vec::with_capacity(count);
        for (_, node) in around {
            if owners.len() >= count {
                break;
            }
            if !owners.contains(node) {
                owners.push(*node);
            }
        }
        owners.into_iter().collect()
    }
}

/// The sum of `endpoint/metric/tag=value,…`, as Open-Falcon names a series; without the last part
/// when there are no tags.
pub(super) fn key_of(labels: &Labels, metric: &str) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(labels.get(ENDPOINT).unwrap_or("").as_bytes());
    hasher.update(b"/");
    hasher.update(metric.as_bytes());
    let tags = labels.iter().filter(|(name, _)| !matches!(*name, ENDPOINT | METRIC_NAME));
    for (at, (name, value)) in tags.enumerate() {
        for part in [if at == 0 { "/" } else { "," }, name, "=", value] {
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::{Hash, HashBy, Router};
    use super::*;

    const NODES: [&str; 3] = ["graph-00", "graph-01", "graph-02"];

    fn check(endpoint: &str, metric: &str, tags: &[(&str, &str)], key: u32, owner: usize) {
        let canonical = model::canonical_name(metric);
        let named = [("endpoint", endpoint), ("__name__", &canonical)];
        let labels = Labels::from_pairs(named.into_iter().chain(tags.iter().copied()));
        assert_eq!(key_of(&labels, metric), key, "{labels}");
        let nodes = NODES.map(|name| (name, 1.0));
        let router = Router::new(Hash::OpenFalcon, HashBy::Endpoint, &nodes, 0, 1);
        let set = router.route(&labels, |name| (name == canonical).then(|| metric.to_owned()));
        assert_eq!(set.iter().collect::<Vec<_>>(), [owner], "{labels}");
    }

    #[test]
    fn series_fall_on_the_nodes_of_the_original() {
        check("web-01", "cpu.idle", &[], 849_378_579, 1);
        check("web-01", "net.if.in.bytes", &[("iface", "eth0")], 2_527_607_403, 0);
        let tags = [("fstype", "ext4"), ("mount", "/")];
        check("db-7", "df.bytes.used", &tags, 552_023_176, 1);
        check("svc", "a", &[("a", "1"), ("b", "2")], 3_590_318_919, 1);
    }

    #[test]
    fn the_owner_is_strictly_behind_the_key_and_the_ring_is_round() {
        let ring = FalconRing(vec![(10, 0), (20, 1), (30, 2)]);
        let owner = |key| ring.owners(key, 1).iter().next();
        assert_eq!([5, 10, 29, 30, u32::MAX].map(owner), [0, 1, 2, 0, 0].map(Some));
        assert_eq!(ring.owners(20, 2).iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(ring.owners(20, 9).iter().count(), 3, "no node twice");
        assert_eq!(FalconRing::new([].into_iter()).owners(1, 1), DestinationSet::default());
    }

    #[test]
    fn a_later_node_takes_an_equal_point() {
        let twice = FalconRing::new(["same", "same"].into_iter());
        assert!(twice.0.len() <= 500 && twice.0.iter().all(|(_, node)| *node == 1));
    }
}
