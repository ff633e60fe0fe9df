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
            "processes_total 2",
            "processes_threads 345",
            "processes_forks 4242",
            "processes_running 1",
            "vmstat_pswpout 29",
            "vmstat_pgscan_direct 321",
            r#"net_if_duplex_full{iface="em1"} 1"#,
            "sys_uptime 864000.55",
            "host_cpucores 2",
            r#"df_readonly{fstype="xfs", mount="/"} 0"#,
        ],
    );
    check_has_none(
        &found,
        &[
            "mem_memavailable",
            "disk_io_util",
            r#"net_if_in_bytes{iface="lo"}"#,
            "snmp_Udp_InCsumErrors",
            "vmstat_oom_kill",
            "pressure",
            "conntrack",
            "cgroup",
            // Netlink would answer for this very host.
            "ss_synrecv",
        ],
    );
    check_has_none(
        &found,
        &[
            r#"disk_io_read_requests{device="sda1"#,
            r#"disk_io_read_requests{device="sr0"#,
            r#"df_bytes_total{fstype="rootfs"#,
        ],
    );
}

#[tokio::test]
async fn linux_4_19_with_a_bond_device_mapper_and_a_firewall() {
    let found = first_round("linux-4.19").await;
    check_has(
        &found,
        &[
            "host_cpucores 4",
            "cpu_switches 33445566",
            "processes_running 6",
            "processes_blocked 2",
            "processes_threads 812",
            "processes_total 3",
            "mem_memused 8808038400",
            "mem_memavailable_percent 50",
            "mem_swapused 1048576000",
            r#"disk_io_write_requests{device="sda"} 2000"#,
            r#"disk_io_ios_in_progress{device="dm-0"} 3"#,
            r#"net_if_in_errors{iface="bond0"} 3"#,
            r#"net_if_out_carrier_errs{iface="eno2"} 1"#,
            r#"net_if_in_bytes{iface="bond0.7"} 500000"#,
            r#"net_if_speed_bits{iface="bond0"} 2000000000"#,
            r#"net_if_duplex_full{iface="eno1"} 1"#,
            r#"net_if_duplex_full{iface="eno2"} 0"#,
            r#"net_if_in_percent{iface="eno1"} 0.8"#,
            "TcpExt_TCPFastRetrans 120",
            "TcpPkg_RetransSegs 450",
            "snmp_Udp_IgnoredMulti 9",
            "ss_estab 57",
            "ss_closed 49",
            "ss_timewait 25",
            "conntrack_entries 65536",
            "conntrack_used_percent 25",
            "vmstat_oom_kill 1",
            "vmstat_pgscan_direct 4",
            r#"df_readonly{fstype="ext4", mount="/"} 0"#,
            r#"df_readonly{fstype="ext4", mount="/boot"} 1"#,
        ],
    );
    let absent = ["pressure", "cgroup", "TcpExt_TCPLoss ", "snmp_Udp_MemErrors"];
    check_has_none(&found, &absent);
    let partitions = ["sda1", "sr0", "loop0"];
    for device in partitions {
        check_has_none(&found, &[&format!(r#"disk_io_read_requests{{device="{device}""#)]);
    }
}

// What 256 processors write: some of them off line, and a line of interrupts of 60 KB.
fn table_of_256_cores(idle: u64) -> String {
    let mut table = format!("cpu  {} 0 0 {} 0 0 0 0 0 0\n", 256 * 100, 256 * idle);
    for core in (0..256).filter(|core| *core != 17) {
        table.push_str(&format!("cpu{core} 100 0 0 {} 0 0 0 0 0 0\n", idle + core));
    }
    table.push_str(&format!("intr 5{}\nctxt 55\nprocesses 9\n", " 0".repeat(30_000)));
    table
}

#[tokio::test]
async fn of_256_cores_each_has_its_own_series_and_numbers_of_two_digits_or_more() {
    let tree = Tree::copy("linux-6.1");
    tree.write("proc/stat", &table_of_256_cores(0));
    let mut rounds = tree.rounds(&Arc::default());
    rounds.run_all().await;
    tree.write("proc/stat", &table_of_256_cores(1000).replace("100 0 0", "350 0 0"));
    let found = lines(&rounds.run_all().await);
    check_has(
        &found,
        &[
            "host_cpucores 255",
            "processes_forks 9",
            r#"percore_user{core="core00"} 20"#,
            r#"percore_idle{core="core09"} 80"#,
            r#"percore_busy{core="core99"} 20"#,
            r#"percore_idle{core="core255"} 80"#,
        ],
    );
    check_has_none(&found, &[r#"percore_idle{core="core17"}"#, r#"percore_idle{core="core0"}"#]);
    let cores = found.iter().filter(|line| line.starts_with("percore_idle")).count();
    assert_eq!(cores, 255);
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
            r#"pressure_some_avg10{resource="cpu"} 3.25"#,
            r#"pressure_full_avg300{resource="io"} 2.25"#,
            r#"pressure_full_usec{resource="irq"} 1234"#,
            r#"pressure_some_usec{resource="memory"} 4444"#,
            r#"net_if_duplex_full{iface="bond0"} 1"#,
            "vmstat_oom_kill 2",
            "vmstat_pgscan_direct 20",
        ],
    );
    check_has_none(
        &found,
        &[
            r#"net_if_speed_bits{iface="ens3"}"#,
            r#"net_if_duplex_full{iface="ens3"}"#,
            r#"pressure_full_avg10{resource="cpu"}"#,
            r#"pressure_some_avg10{resource="irq"}"#,
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
async fn a_container_lacks_tables_and_has_limits() {
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
            "cgroup_memory_used 1073741824",
            "cgroup_memory_workingset 800000000",
            "cgroup_memory_limit 2097152000",
            "cgroup_memory_oom_kills 2",
            "cgroup_cpu_limit 1.5",
            "cgroup_cpu_usec 5000000",
            "cgroup_cpu_throttled_periods 250",
            "cgroup_cpu_throttled_usec 9000000",
            "cgroup_pids_used 17",
            "cgroup_pids_limit 512",
        ],
    );
    check_has_none(&lines, &["disk_io", "net_if", "TcpExt", "df_", "ss_estab", "pressure"]);
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
    for name in ["linux-3.10", "linux-4.19", "linux-6.1", "container"] {
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
    // One needs the kernel of this very host, the other a server: they are tested where these are.
    assert_eq!(unsent, ["ss_synrecv", "sys_ntp_offset"]);
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
