//! `pressure.*`: for how long tasks waited for a resource.

use std::path::Path;
use std::time::Duration;

use super::{Collector, Readings};
use crate::host::file::{HostError, KeptFile};
use crate::host::pressure::{Pressure, Stall};

/// The kernel writes `full` for processors too, and always 0: there is always one task that runs.
const NEVER_FULL: &str = "cpu";

pub(super) struct Waiting {
    tables: [(&'static str, KeptFile); 4],
}

impl Waiting {
    pub(super) fn new(root: &Path) -> Self {
        let resources = ["cpu", "memory", "io", "irq"];
        let table = |resource| KeptFile::new(root, &format!("proc/pressure/{resource}"));
        Self { tables: resources.map(|resource| (resource, table(resource))) }
    }
}

impl Collector for Waiting {
    fn collect(&mut self, _: Duration, out: &mut Readings) -> Result<(), HostError> {
        for (resource, table) in &mut self.tables {
            if let Some(table) = table.read_if_there()? {
                measure(resource, &Pressure::parse(table), out);
            }
        }
        Ok(())
    }
}

fn measure(resource: &str, pressure: &Pressure, out: &mut Readings) {
    let own = [("resource", resource)];
    let mut add = |metrics: [&'static str; 4], stall: &Stall| {
        let [avg10, avg60, avg300] = stall.averages;
        for (metric, value) in metrics.into_iter().zip([avg10, avg60, avg300, stall.micros as f64])
        {
            out.add_with(metric, &own, value);
        }
    };
    if let Some(some) = &pressure.some {
        let metrics = [
            "pressure.some.avg10",
            "pressure.some.avg60",
            "pressure.some.avg300",
            "pressure.some.usec",
        ];
        add(metrics, some);
    }
    if let Some(full) = pressure.full.as_ref().filter(|_| resource != NEVER_FULL) {
        let metrics = [
            "pressure.full.avg10",
            "pressure.full.avg60",
            "pressure.full.avg300",
            "pressure.full.usec",
        ];
        add(metrics, full);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, lines};
    use super::*;

    const STALL: Stall = Stall { averages: [1.0, 2.0, 3.0], micros: 4 };

    #[test]
    fn each_resource_has_its_label() {
        let both = Pressure { some: Some(STALL), full: Some(STALL) };
        assert_eq!(lines(|out| measure("io", &both, out)).len(), 8);
        let expected = r#"pressure_some_avg10{h, resource="cpu"} 1
            pressure_some_avg60{h, resource="cpu"} 2
            pressure_some_avg300{h, resource="cpu"} 3
            pressure_some_usec{h, resource="cpu"} 4"#;
        check(|out| measure("cpu", &both, out), expected);
    }

    #[test]
    fn a_kernel_without_pressure_gives_nothing_and_is_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        check(|out| Waiting::new(dir.path()).collect(Duration::ZERO, out).unwrap(), "");
    }
}
