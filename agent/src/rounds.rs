//! One slot after the other: run the collectors that are due, each with a deadline, and hand on what they
//! found.
//!
//! Collectors run one after the other on a worker thread. One that is not back after `PATIENCE` keeps its
//! thread, and the others go on with a new one; what it finds is still taken if it comes back before its
//! deadline. After that it is away: cut off, counted and skipped until it returns.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::catalogue::Group;
use crate::collect::{Collector, Reading, Readings};
use crate::host::file::HostError;
use crate::metrics::{CollectFault, Metrics};
use crate::slots;
use crate::worker::Worker;

/// How long the others wait for one collector. Reading the kernel's tables takes less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(200);

/// What one group found in a slot.
#[derive(Debug)]
pub struct Found {
    /// The group.
    pub group: Group,
    /// How often it is measured.
    pub interval: Duration,
    /// What it found.
    pub readings: Vec<Reading>,
}

/// Makes the collector of a group: at the start, and again when one has died.
pub type Make = Arc<dyn Fn(Group) -> Box<dyn Collector> + Send + Sync>;

/// A collector and where it writes; the two travel to the worker thread and back.
struct Crew {
    collector: Box<dyn Collector>,
    readings: Readings,
    // Which of the common labels the readings have.
    edition: u64,
}

struct Report {
    crew: Crew,
    outcome: Result<(), HostError>,
    took: Duration,
}

enum Place {
    Here(Crew),
    Away(oneshot::Receiver<Report>),
    Lost,
}

struct Station {
    group: Group,
    interval: Duration,
    place: Place,
    // The fault of the last round. It is logged when it begins and when it ends, not in each round.
    fault: Option<String>,
}

/// Collectors of a slot that were not back while the others ran.
#[derive(Debug)]
#[must_use = "what they find is lost when nobody waits for it"]
pub struct Late {
    stations: Vec<usize>,
    deadline: Instant,
}

impl Station {
    const fn new(group: Group, interval: Duration) -> Self {
        Self { group, interval, place: Place::Lost, fault: None }
    }
}

/// The collectors of all groups that are measured.
pub struct Rounds {
    stations: Vec<Station>,
    common: Vec<(String, String)>,
    edition: u64,
    make: Make,
    worker: Option<Worker>,
    deadline: Duration,
    started: Instant,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = self.stations.iter().map(|station| station.group).collect();
        f.debug_struct("Rounds").field("groups", &groups).finish_non_exhaustive()
    }
}

impl Rounds {
    /// Collectors for `groups`, whose samples all have the `common` labels; each is cut off after `deadline`.
    pub fn new(
        groups: &[(Group, Duration)],
        common: Vec<(String, String)>,
        make: Make,
        deadline: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let station = |&(group, interval): &(Group, Duration)| Station::new(group, interval);
        let stations = groups.iter().map(station).collect();
        let started = Instant::now();
        Self { stations, common, edition: 0, make, worker: None, deadline, started, metrics }
    }

    /// Goes on with other groups, intervals and labels. Groups that stay keep what they need for differences.
    pub fn change(&mut self, groups: &[(Group, Duration)], common: Vec<(String, String)>) {
        if common != self.common {
            self.common = common;
            self.edition += 1;
        }
        let mut before = std::mem::take(&mut self.stations);
        for &(group, interval) in groups {
            let at = before.iter().position(|station| station.group == group);
            let station = at.map(|at| Station { interval, ..before.swap_remove(at) });
            self.stations.push(station.unwrap_or(Station::new(group, interval)));
        }
    }

    /// The intervals of the groups.
    pub fn intervals(&self) -> impl Iterator<Item = Duration> {
        self.stations.iter().map(|station| station.interval)
    }

    /// The groups whose collectors failed in their last round, and why.
    pub fn faults(&self) -> BTreeMap<Group, String> {
        let fault = |station: &Station| Some((station.group, station.fault.clone()?));
        self.stations.iter().filter_map(fault).collect()
    }

    /// Runs every collector once, whatever the time is: the first round, from which the next measures
    /// differences, and what `saker-agent collect` shows.
    pub async fn run_all(&mut self) -> Vec<Found> {
        let (mut found, late) = self.run(|_| true).await;
        found.extend(self.wait_for(late).await);
        found
    }

    /// Runs the collectors that are due in this slot. What the slow ones find comes with
    /// [`Rounds::wait_for`]; the others need not wait for them.
    pub async fn run_slot(&mut self, slot: Timestamp) -> (Vec<Found>, Late) {
        self.run(|interval| slots::is_due(slot, interval)).await
    }

    async fn run(&mut self, is_due: impl Fn(Duration) -> bool) -> (Vec<Found>, Late) {
        let mut late = Late { stations: Vec::new(), deadline: Instant::now() + self.deadline };
        let mut found = Vec::new();
        for at in 0..self.stations.len() {
            if !is_due(self.stations[at].interval) || !self.send_out(at) {
                continue;
            }
            match timeout(PATIENCE, self.come_back(at)).await {
                Ok(some) => found.extend(some),
                Err(_) => {
                    self.worker = None;
                    late.stations.push(at);
                }
            }
        }
        (found, late)
    }

    /// What the slow collectors of a slot found until their deadline. Those that are not back then are cut
    /// off and counted.
    pub async fn wait_for(&mut self, late: Late) -> Vec<Found> {
        let mut found = Vec::new();
        for at in late.stations {
            match timeout_at(late.deadline, self.come_back(at)).await {
                Ok(some) => found.extend(some),
                Err(_) => self.fault(at, CollectFault::Timeout, "not back at its deadline"),
            }
        }
        found
    }

    // Starts a collector on the worker thread; `false` when it cannot run in this slot.
    fn send_out(&mut self, at: usize) -> bool {
        let Some(mut crew) = self.crew(at) else {
            self.fault(at, CollectFault::Busy, "still away from an earlier round");
            return false;
        };
        if self.worker.is_none() {
            self.worker = Worker::start().ok();
        }
        let monotonic = self.started.elapsed();
        let (reply, report) = oneshot::channel();
        let job = move || {
            let begin = Instant::now();
            let outcome = crew.collector.collect(monotonic, &mut crew.readings);
            // Nobody waits any more when the agent stops.
            let _ = reply.send(Report { crew, outcome, took: begin.elapsed() });
        };
        if self.worker.as_ref().is_some_and(|worker| worker.run(job)) {
            self.stations[at].place = Place::Away(report);
            return true;
        }
        self.worker = None;
        self.fault(at, CollectFault::Error, "no thread can be started");
        false
    }

    // The collector, if it is here or can be made anew. What it found while it was away belongs to no slot.
    fn crew(&mut self, at: usize) -> Option<Crew> {
        let station = &mut self.stations[at];
        match std::mem::replace(&mut station.place, Place::Lost) {
            Place::Here(crew) => Some(self.up_to_date(crew)),
            Place::Away(mut report) => match report.try_recv() {
                Ok(Report { mut crew, .. }) => {
                    crew.readings.clear();
                    Some(self.up_to_date(crew))
                }
                Err(oneshot::error::TryRecvError::Empty) => {
                    station.place = Place::Away(report);
                    None
                }
                Err(oneshot::error::TryRecvError::Closed) => Some(self.new_crew(at)),
            },
            Place::Lost => Some(self.new_crew(at)),
        }
    }

    fn new_crew(&self, at: usize) -> Crew {
        let collector = (self.make)(self.stations[at].group);
        Crew { collector, readings: self.readings(), edition: self.edition }
    }

    fn up_to_date(&self, mut crew: Crew) -> Crew {
        if crew.edition != self.edition {
            (crew.readings, crew.edition) = (self.readings(), self.edition);
        }
        crew
    }

    fn readings(&self) -> Readings {
        Readings::new(self.common.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    // Cancelled without loss: the collector stays away and can be waited for again.
    async fn come_back(&mut self, at: usize) -> Option<Found> {
        let Place::Away(report) = &mut self.stations[at].place else { return None };
        let Ok(Report { mut crew, outcome, took }) = report.await else {
            self.stations[at].place = Place::Lost;
            self.worker = None;
            self.fault(at, CollectFault::Error, "it panicked");
            return None;
        };
        let readings = crew.readings.take();
        let station = &mut self.stations[at];
        let (group, interval) = (station.group, station.interval);
        station.place = Place::Here(crew);
        self.metrics.collected(group, readings.len(), took);
        match outcome {
            Ok(()) => self.recovered(at),
            Err(error) => {
                self.fault(at, CollectFault::Error, &daemon::error_chain(&error));
            }
        }
        (!readings.is_empty()).then_some(Found { group, interval, readings })
    }

    fn fault(&mut self, at: usize, fault: CollectFault, why: &str) {
        let station = &mut self.stations[at];
        self.metrics.collector_fault(station.group, fault);
        if station.fault.replace(why.to_owned()).is_none() {
            tracing::warn!(
                group = station.group.as_str(),
                "a collector gives less than it should: {why}"
            );
        }
    }

    fn recovered(&mut self, at: usize) {
        let station = &mut self.stations[at];
        if station.fault.take().is_some() {
            tracing::info!(group = station.group.as_str(), "a collector works again");
        }
    }
}
