//! The list itself, in the order of the groups.

use model::MetricKind;

use super::{Group, Metric, Section};

/// All metrics by group and labels.
pub const SECTIONS: &[Section] = &[
    Section {
        group: Group::Cpu,
        labels: &[],
        metrics: &[
            gauge("cpu.idle", "percent", "Time idle, over the whole interval."),
            gauge("cpu.busy", "percent", "Time anything but idle, over the whole interval."),
            gauge(
                "cpu.user",
                "percent",
                "Time in user mode, guests included, over the whole interval.",
            ),
            gauge(
                "cpu.nice",
                "percent",
                "Time in user mode at low priority, over the whole interval.",
            ),
            gauge("cpu.system", "percent", "Time in the kernel, over the whole interval."),
            gauge(
                "cpu.iowait",
                "percent",
                "Time idle while a disk request was open, over the whole interval.",
            ),
            gauge("cpu.irq", "percent", "Time in interrupt handlers, over the whole interval."),
            gauge(
                "cpu.softirq",
                "percent",
                "Time in deferred interrupt work, over the whole interval.",
            ),
            gauge(
                "cpu.steal",
                "percent",
                "Time taken away by the hypervisor, over the whole interval.",
            ),
            gauge(
                "cpu.guest",
                "percent",
                "Time running virtual machines, over the whole interval.",
            ),
            counter("cpu.switches", "", "Context switches."),
        ],
    },
    Section {
        group: Group::Percore,
        labels: &["core"],
        metrics: &[
            gauge("percore.idle", "percent", "Time of one core idle, over the whole interval."),
            gauge(
                "percore.busy",
                "percent",
                "Time of one core anything but idle, over the whole interval.",
            ),
            gauge(
                "percore.user",
                "percent",
                "Time of one core in user mode, guests included, over the whole interval.",
            ),
            gauge(
                "percore.nice",
                "percent",
                "Time of one core in user mode at low priority, over the whole interval.",
            ),
            gauge(
                "percore.system",
                "percent",
                "Time of one core in the kernel, over the whole interval.",
            ),
            gauge(
                "percore.iowait",
                "percent",
                "Time of one core idle while a disk request was open, over the whole interval.",
            ),
            gauge(
                "percore.irq",
                "percent",
                "Time of one core in interrupt handlers, over the whole interval.",
            ),
            gauge(
                "percore.softirq",
                "percent",
                "Time of one core in deferred interrupt work, over the whole interval.",
            ),
            gauge(
                "percore.steal",
                "percent",
                "Time of one core taken away by the hypervisor, over the whole interval.",
            ),
            gauge(
                "percore.guest",
                "percent",
                "Time of one core running virtual machines, over the whole interval.",
            ),
        ],
    },
    Section {
        group: Group::Load,
        labels: &[],
        metrics: &[
            gauge("load.1min", "", "Tasks that ran or waited for a disk, averaged over 1 min."),
            gauge("load.5min", "", "Tasks that ran or waited for a disk, averaged over 5 min."),
            gauge("load.15min", "", "Tasks that ran or waited for a disk, averaged over 15 min."),
        ],
    },
    Section {
        group: Group::Memory,
        labels: &[],
        metrics: &[
            gauge("mem.memtotal", "bytes", "Memory the kernel manages."),
            gauge(
                "mem.memused",
                "bytes",
                "MemTotal - MemFree - Buffers - Cached; shared memory is not in it.",
            ),
            gauge("mem.memfree", "bytes", "MemFree + Buffers + Cached."),
            gauge("mem.memused.percent", "percent", "Share of mem.memtotal that is mem.memused."),
            gauge("mem.memfree.percent", "percent", "Share of mem.memtotal that is mem.memfree."),
            gauge(
                "mem.memavailable",
                "bytes",
                "What programs could get without swapping, as the kernel estimates it.",
            ),
            gauge(
                "mem.memavailable.percent",
                "percent",
                "Share of mem.memtotal that is mem.memavailable.",
            ),
            gauge("mem.cached", "bytes", "Cache of files, shared memory included."),
            gauge("mem.buffers", "bytes", "Cache of block devices."),
            gauge("mem.shmem", "bytes", "Shared memory and tmpfs."),
            gauge("mem.swaptotal", "bytes", "Swap space."),
            gauge("mem.swapused", "bytes", "Swap space in use."),
            gauge("mem.swapfree", "bytes", "Swap space not in use."),
            gauge(
                "mem.swapused.percent",
                "percent",
                "Share of mem.swaptotal that is mem.swapused; 0 without swap.",
            ),
            gauge(
                "mem.swapfree.percent",
                "percent",
                "Share of mem.swaptotal that is mem.swapfree; 0 without swap.",
            ),
        ],
    },
    Section {
        group: Group::Agent,
        labels: &[],
        metrics: &[
            gauge("agent.alive", "", "1 while the agent runs."),
            gauge("agent.memory.rss", "bytes", "Resident memory of the agent."),
            gauge(
                "agent.cpu.percent",
                "percent",
                "Time of one core that the agent used, over the whole interval.",
            ),
            gauge(
                "agent.spool.bytes",
                "bytes",
                "What waits in the spool for a transfer to take it.",
            ),
            counter(
                "agent.samples.dropped",
                "",
                "Samples that were lost because the spool was full or transfer refused them.",
            ),
        ],
    },
    Section {
        group: Group::Disk,
        labels: &["device"],
        metrics: &[
            counter("disk.io.read_requests", "", "Reads completed."),
            counter("disk.io.read_merged", "", "Reads merged with a neighbour."),
            counter("disk.io.read_sectors", "", "Sectors of 512 bytes read."),
            counter("disk.io.msec_read", "milliseconds", "Time of all reads, added up."),
            counter("disk.io.write_requests", "", "Writes completed."),
            counter("disk.io.write_merged", "", "Writes merged with a neighbour."),
            counter("disk.io.write_sectors", "", "Sectors of 512 bytes written."),
            counter("disk.io.msec_write", "milliseconds", "Time of all writes, added up."),
            gauge("disk.io.ios_in_progress", "", "Requests that are open."),
            counter("disk.io.msec_total", "milliseconds", "Time with at least one open request."),
            counter(
                "disk.io.msec_weighted_total",
                "milliseconds",
                "Time of all requests, weighted with the length of the queue.",
            ),
            gauge("disk.io.read_bytes", "", "Bytes read a second, over the whole interval."),
            gauge("disk.io.write_bytes", "", "Bytes written a second, over the whole interval."),
            gauge("disk.io.avgrq_sz", "", "Mean size of a request in sectors of 512 bytes."),
            gauge("disk.io.avgqu-sz", "", "Mean number of open requests."),
            gauge("disk.io.await", "milliseconds", "Mean time of a request, waiting included."),
            gauge(
                "disk.io.svctm",
                "milliseconds",
                "Busy time divided by requests; kept for old dashboards.",
            ),
            gauge("disk.io.util", "percent", "Time with at least one open request."),
        ],
    },
    Section {
        group: Group::Network,
        labels: &["iface"],
        metrics: &[
            counter("net.if.in.bytes", "bytes", "Bytes received."),
            counter("net.if.in.bits", "", "Bits received."),
            counter("net.if.in.packets", "", "Packets received."),
            counter("net.if.in.errors", "", "Packets with errors received."),
            counter("net.if.in.dropped", "", "Packets dropped of those received."),
            counter("net.if.in.fifo.errs", "", "FIFO overruns of packets received."),
            counter("net.if.in.compressed", "", "Compressed packets received."),
            counter(
                "net.if.in.percent",
                "percent",
                "100 x bits received / speed; its rate is the load of the line in percent.",
            ),
            counter("net.if.in.frame.errs", "", "Frames received with a wrong length or checksum."),
            counter("net.if.in.multicast", "", "Multicast packets received."),
            counter("net.if.out.bytes", "bytes", "Bytes sent."),
            counter("net.if.out.bits", "", "Bits sent."),
            counter("net.if.out.packets", "", "Packets sent."),
            counter("net.if.out.errors", "", "Packets with errors sent."),
            counter("net.if.out.dropped", "", "Packets dropped of those sent."),
            counter("net.if.out.fifo.errs", "", "FIFO overruns of packets sent."),
            counter("net.if.out.compressed", "", "Compressed packets sent."),
            counter(
                "net.if.out.percent",
                "percent",
                "100 x bits sent / speed; its rate is the load of the line in percent.",
            ),
            counter("net.if.out.collisions", "", "Collisions."),
            counter("net.if.out.carrier.errs", "", "Losses of the carrier."),
            counter("net.if.total.bytes", "bytes", "Bytes received and sent."),
            counter("net.if.total.bits", "", "Bits received and sent."),
            counter("net.if.total.packets", "", "Packets received and sent."),
            counter("net.if.total.errors", "", "Packets with errors received and sent."),
            counter("net.if.total.dropped", "", "Packets dropped of those received and sent."),
            gauge(
                "net.if.speed.bits",
                "",
                "Speed of the line in bits a second; missing when the driver does not know it.",
            ),
        ],
    },
    Section {
        group: Group::Tcp,
        labels: &[],
        metrics: &[
            counter(
                "TcpExt.PruneCalled",
                "",
                "Receive queues that were pruned for want of memory.",
            ),
            counter(
                "TcpExt.LockDroppedIcmps",
                "",
                "ICMP messages dropped because the socket was locked.",
            ),
            counter("TcpExt.ArpFilter", "", "ARP requests that the filter refused."),
            counter("TcpExt.TW", "", "Connections that went through TIME_WAIT."),
            counter(
                "TcpExt.DelayedACKLocked",
                "",
                "Delayed acknowledgements put off because the socket was locked.",
            ),
            counter("TcpExt.ListenOverflows", "", "Connections lost to a full accept queue."),
            counter("TcpExt.ListenDrops", "", "Connection requests dropped by listening sockets."),
            counter(
                "TcpExt.TCPPrequeueDropped",
                "",
                "Packets dropped from the prequeue (old kernels).",
            ),
            counter("TcpExt.TCPTSReorder", "", "Reorderings found by time stamp."),
            counter("TcpExt.TCPDSACKUndo", "", "Windows restored by a duplicate SACK."),
            counter("TcpExt.TCPLoss", "", "Losses found by SACK (old kernels)."),
            counter("TcpExt.TCPLostRetransmit", "", "Retransmissions that were lost again."),
            counter("TcpExt.TCPLossFailures", "", "Timeouts in the loss state."),
            counter("TcpExt.TCPFastRetrans", "", "Segments sent again by fast retransmit."),
            counter("TcpExt.TCPTimeouts", "", "Retransmission timeouts."),
            counter(
                "TcpExt.TCPSchedulerFailed",
                "",
                "Acknowledgements that could not be scheduled (old kernels).",
            ),
            counter("TcpExt.TCPAbortOnMemory", "", "Connections aborted for want of memory."),
            counter("TcpExt.TCPAbortOnTimeout", "", "Connections aborted by a timeout."),
            counter("TcpExt.TCPAbortFailed", "", "Resets that could not be sent."),
            counter("TcpExt.TCPMemoryPressures", "", "Times that TCP ran short of memory."),
            counter("TcpExt.TCPSpuriousRTOs", "", "Timeouts that turned out to be spurious."),
            counter("TcpExt.TCPBacklogDrop", "", "Packets dropped from a full backlog."),
            counter("TcpExt.TCPMinTTLDrop", "", "Packets dropped for a low TTL."),
            gauge(
                "TcpExt.TCPFastRetransRate",
                "",
                "10000 x fast retransmits / segments sent, over the whole interval.",
            ),
            counter("TcpPkg.InSegs", "", "TCP segments received."),
            counter("TcpPkg.OutSegs", "", "TCP segments sent, retransmissions left out."),
            counter("TcpPkg.RetransSegs", "", "TCP segments sent again."),
            counter("TcpPkg.InErrs", "", "TCP segments received with errors."),
            counter("snmp.Udp.InDatagrams", "", "Datagrams delivered."),
            counter("snmp.Udp.NoPorts", "", "Datagrams to a port where nobody listens."),
            counter("snmp.Udp.InErrors", "", "Datagrams that could not be delivered."),
            counter("snmp.Udp.OutDatagrams", "", "Datagrams sent."),
            counter("snmp.Udp.RcvbufErrors", "", "Datagrams lost to a full receive buffer."),
            counter("snmp.Udp.SndbufErrors", "", "Datagrams lost to a full send buffer."),
            counter("snmp.Udp.InCsumErrors", "", "Datagrams with a wrong checksum."),
            counter("snmp.Udp.IgnoredMulti", "", "Multicast datagrams nobody asked for."),
            counter("snmp.Udp.MemErrors", "", "Datagrams lost for want of memory."),
        ],
    },
    Section {
        group: Group::Sockets,
        labels: &[],
        metrics: &[
            gauge("ss.estab", "", "TCP connections in the states ESTABLISHED and CLOSE_WAIT."),
            gauge("ss.closed", "", "TCP sockets that are allocated and in no table."),
            gauge("ss.orphaned", "", "TCP sockets that no process holds."),
            gauge("ss.timewait", "", "TCP sockets in the state TIME_WAIT."),
        ],
    },
    Section {
        group: Group::Kernel,
        labels: &[],
        metrics: &[
            gauge("kernel.maxfiles", "", "Files that may be open at a time."),
            gauge("kernel.maxproc", "", "Process numbers there are."),
            gauge("kernel.files.allocated", "", "Files that are open."),
            gauge("kernel.files.left", "", "Files that may still be opened."),
        ],
    },
    Section {
        group: Group::Filesystem,
        labels: &["mount", "fstype"],
        metrics: &[
            gauge("df.bytes.total", "bytes", "Size of the file system."),
            gauge("df.bytes.used", "bytes", "Space in use."),
            gauge("df.bytes.free", "bytes", "Space that users may still write."),
            gauge("df.bytes.used.percent", "percent", "Space in use, of used and free."),
            gauge(
                "df.bytes.free.percent",
                "percent",
                "Space that users may still write, of used and free.",
            ),
            gauge("df.inodes.total", "", "Files it can hold."),
            gauge("df.inodes.used", "", "Files it holds."),
            gauge("df.inodes.free", "", "Files that can still be made."),
            gauge(
                "df.inodes.used.percent",
                "percent",
                "Share of df.inodes.total that is df.inodes.used.",
            ),
            gauge(
                "df.inodes.free.percent",
                "percent",
                "Share of df.inodes.total that is df.inodes.free.",
            ),
            gauge(
                "df.readonly",
                "",
                "1 when it can only be read, be it mounted so or after an error.",
            ),
            gauge(
                "df.stale",
                "",
                "1 when it did not answer within the deadline, as a dead NFS server does not.",
            ),
        ],
    },
    Section {
        group: Group::Filesystem,
        labels: &[],
        metrics: &[
            gauge("df.statistics.total", "bytes", "Size of all file systems."),
            gauge("df.statistics.used", "bytes", "Space in use on all file systems."),
            gauge(
                "df.statistics.used.percent",
                "percent",
                "Share of df.statistics.total that is df.statistics.used.",
            ),
        ],
    },
    Section {
        group: Group::Uptime,
        labels: &[],
        metrics: &[gauge("sys.uptime", "seconds", "Time since boot.")],
    },
    Section {
        group: Group::Clock,
        labels: &[],
        metrics: &[
            gauge(
                "sys.ntp.offset",
                "milliseconds",
                "Local time minus server time; positive when the local clock is ahead.",
            ),
            gauge(
                "agent.clock.offset",
                "milliseconds",
                "Local time minus that of hbs, as exact as half a heartbeat; positive when local is ahead.",
            ),
        ],
    },
    Section {
        group: Group::Static,
        labels: &[],
        metrics: &[
            gauge("host.cpucores", "", "Processors that are on line."),
            gauge("agent_version", "", "Digits of the version: 6.1.0 is 610."),
        ],
    },
];

const fn gauge(original: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { original, kind: MetricKind::Gauge, unit, help }
}

const fn counter(original: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { original, kind: MetricKind::Counter, unit, help }
}
