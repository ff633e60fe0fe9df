//! Trees of other kernels are understood, and the catalogue names everything that is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::canonical_name;
use saker_agent::catalogue::Group;
use saker_agent::host::system::Identity;
use saker_agent::metrics::Metrics;
use saker_agent::rounds::Found;

use crate::fixtures::{Tree, lines};

async fn first_round(name: &str) -> Vec<String> {
    lines(&Tree::copy(name).rounds(&Arc::default()).run_all().await)
}

fn check_has(found: &[String], expected: &[&str]) {
    for line in expected {
        assert!(found.iter().any(|one| one == line), "{line} is not in\n{}", found.join("\n"));
    }
}

fn check_has_none(found: &[String], prefixes: &[&str]) {
    for prefix in prefixes {
        assert!(
            !found.iter().any(|one| one.starts_with(prefix)),
            "{prefix} is in\n{}",
            found.join("\n")
        );
    }
}

#[tokio::test]
async fn linux_3_10_has_no_estimate_of_available_memory_and_glues_its_columns() {
    let found = first_round("linux-3.10").await;
    check_has(
        &found,
        &[
            "cpu_switches 987654",
            "load_5min 1.25",
            "mem_memtotal 8202657792",
            "mem_shmem 67108864",
            r#"disk_io_read_requests{device="sda"} 4000"#,
            r#"disk_io_write_sectors{device="dm-0"} 149000"#,
            r#"net_if_in_bytes{iface="em1"} 123456789012"#,
            r#"net_if_speed_bits{iface="em1"} 1000000000"#,
            "TcpExt_TCPPrequeueDropped 9",
            "TcpExt_TCPFastRetrans 15",
            "TcpPkg_RetransSegs 120",
            "snmp_Udp_SndbufErrors 2",
            "ss_estab 33",
            "ss_closed 27",
            "ss_timewait 12",
            "kernel_files_left 788656",
            "kernel_maxproc 32768",
            "sys_uptime 864000.55",
            "host_cpucores 2",
            r#"df_readonly{fstype="xfs", mount="/"} 0"#,
        ],
    );
    check_has_none(
        &found,
        &[
            "mem_memavailable",
            r#"disk_io_util"#,
            r#"net_if_in_bytes{iface="lo"}"#,
            "snmp_Udp_InCsumErrors",
        ],
    );
    check_has_none(
        &found,
        &[
            r#"disk_io_reads{device="sda1"#,
            r#"disk_io_reads{device="sr0"#,
            r#"df_bytes_total{fstype="rootfs"#,
        ],
    );
}

#[tokio::test]
async fn linux_6_1_with_many_cores_nvme_and_bonding() {
    let found = first_round("linux-6.1").await;
    check_has(
        &found,
        &[
            "host_cpucores 96",
            "mem_swapused_percent 0",
            r#"disk_io_read_requests{device="nvme0n1"} 100"#,
            r#"disk_io_msec_total{device="nvme0n1"} 120"#,
            r#"net_if_in_bytes{iface="bond0"} 5000"#,
            r#"net_if_speed_bits{iface="bond0"} 20000000000"#,
            r#"net_if_out_packets{iface="ens3"} 20"#,
            "TcpExt_TCPMinTTLDrop 24",
            "snmp_Udp_MemErrors 9",
            "kernel_maxfiles 9223372036854776000",
            r#"df_readonly{fstype="ext4", mount="/"} 1"#,
        ],
    );
    check_has_none(
        &found,
        &[
            r#"net_if_speed_bits{iface="ens3"}"#,
            r#"net_if_in_bytes{iface="veth"#,
            "TcpExt_TCPLoss ",
            "TcpExt_TCPSchedulerFailed",
        ],
    );
    check_has_none(
        &found,
        &[
            r#"disk_io_read_requests{device="nvme0n1p1"}"#,
            r#"disk_io_read_requests{device="loop0"}"#,
        ],
    );
}

#[tokio::test]
async fn a_container_lacks_tables_and_that_costs_only_their_groups() {
    let metrics = Arc::new(Metrics::default());
    let found = Tree::copy("container").rounds(&metrics).run_all().await;
    let lines = lines(&found);
    check_has(
        &lines,
        &[
            "cpu_switches 5",
            "mem_memavailable 1536000000",
            "load_1min 0",
            "kernel_files_allocated 32",
        ],
    );
    check_has_none(&lines, &["disk_io", "net_if", "TcpExt", "df_", "ss_estab"]);
    check_has(&lines, &["ss_timewait 0"]);
}

fn check_named_in_the_catalogue(found: &[Found], seen: &mut BTreeSet<String>) {
    for Found { group, readings, .. } in found {
        let known: BTreeMap<_, _> = group
            .metrics()
            .map(|(metric, labels)| (canonical_name(metric.original), labels))
            .collect();
        for reading in readings {
            let name = reading.labels.metric_name();
            let expected = known
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not in the catalogue as {group:?}"));
            let own = reading.labels.without(&["__name__", "endpoint"]);
            let labels: BTreeSet<_> = own.iter().map(|(label, _)| label).collect();
            assert_eq!(labels, expected.iter().copied().collect(), "{name}");
            seen.insert(name.to_owned());
        }
    }
}

#[tokio::test]
async fn everything_sent_is_in_the_catalogue_and_everything_in_it_is_sent() {
    let mut seen = BTreeSet::new();
    for name in ["linux-3.10", "linux-6.1"] {
        let tree = Tree::copy(name);
        let metrics = Arc::new(Metrics::default());
        metrics.heartbeat(Some(3));
        let mut rounds = tree.rounds(&metrics);
        check_named_in_the_catalogue(&rounds.run_all().await, &mut seen);
        tree.write(
            "proc/stat",
            "cpu 99999 999 999 99999 0 0 0 0 0 0\ncpu0 9999 0 0 9999\nctxt 9\n",
        );
        check_named_in_the_catalogue(&rounds.run_all().await, &mut seen);
    }
    let all = Group::ALL
        .into_iter()
        .flat_map(Group::metrics)
        .map(|(metric, _)| canonical_name(metric.original));
    let unsent: Vec<_> = all.filter(|name| !seen.contains(name)).collect();
    // The one metric that needs a server is tested where its server is.
    assert_eq!(unsent, ["sys_ntp_offset"]);
}

#[test]
fn a_host_says_what_it_is() {
    let identity = Identity::read(&Tree::copy("linux-3.10").path());
    assert_eq!(
        (identity.hostname.as_str(), identity.os.as_str()),
        ("db-03", "CentOS Linux 7 (Core)")
    );
    assert_eq!((identity.kernel.as_str(), identity.cpus), ("3.10.0-1160.el7.x86_64", 2));
    assert!(identity.boot_id.starts_with("0f0f0f0f") && identity.memory_bytes == 8_202_657_792);
    assert!(Identity::read(Path::new("/")).cpus > 0);
}
