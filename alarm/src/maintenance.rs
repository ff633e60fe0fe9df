//! Maintenance windows, as hbs keeps them: a copy of those that are open or come, renewed every other second, with
//! the hosts of the groups that they are about. While a host is worked on, nobody hears of what fires there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use daemon::Clock;
use db::{Db, DbError, MaintenanceOf, MaintenanceRow, window_of};
use model::{Labels, Timestamp};

const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Who is in a group is read anew this often, and when there are other windows.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(30);
const MEMBERS_PER_QUERY: u32 = 5_000;

/// The windows at one moment.
#[derive(Debug)]
pub(crate) struct Windows {
    rows: Vec<MaintenanceRow>,
    /// Host to the groups, of those that windows are about.
    groups: HashMap<String, Vec<String>>,
    ended_at: Timestamp,
}

impl Default for Windows {
    fn default() -> Self {
        Self { rows: Vec::new(), groups: HashMap::new(), ended_at: Timestamp::MIN }
    }
}

impl Windows {
    /// The window that keeps an alert with these labels quiet at `now`.
    pub(crate) fn holding(&self, labels: &Labels, now: Timestamp) -> Option<&MaintenanceRow> {
        let groups_of = |host: &str| self.groups.get(host).cloned().unwrap_or_default();
        window_of(&self.rows, labels, groups_of, now)
    }

    /// When it was noticed that one had ended; only a window that is known here can have held anything back.
    pub(crate) const fn ended_at(&self) -> Timestamp {
        self.ended_at
    }

    /// What is known after these: those that are not over at `now`.
    fn then(
        &self,
        rows: Vec<MaintenanceRow>,
        groups: HashMap<String, Vec<String>>,
        now: Timestamp,
    ) -> Self {
        let is_gone = |known: &MaintenanceRow| {
            known.starts_at <= now && !rows.iter().any(|row| row.id == known.id)
        };
        // Who left a group while its window is open is as free as after its end.
        let is_left = groups != self.groups;
        let has_ended = is_left || self.rows.iter().any(is_gone);
        Self { ended_at: if has_ended { now } else { self.ended_at }, rows, groups }
    }
}

/// The windows as they change; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct MaintenanceBook {
    db: Db,
    known: Arc<RwLock<Arc<Windows>>>,
}

impl MaintenanceBook {
    /// None are known before the first [`MaintenanceBook::load`].
    pub(crate) fn new(db: Db) -> Self {
        Self { db, known: Arc::default() }
    }

    /// Those that are known.
    pub(crate) fn known(&self) -> Arc<Windows> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them from the store, with the members of their groups.
    pub(crate) async fn load(&self, now: Timestamp) -> Result<(), DbError> {
        let rows = self.db.maintenances().ending_after(now).await?;
        let groups = self.members(&rows).await?;
        self.keep(self.known().then(rows, groups, now));
        Ok(())
    }

    /// Follows the changes for as long as the process runs.
    pub(crate) async fn follow(self, clock: Clock) {
        let mut members_at = Timestamp::MIN;
        loop {
            let now = clock.now();
            if let Err(error) = self.refresh(&mut members_at, now).await {
                let error = daemon::error_chain(&error);
                tracing::error!(error, "cannot read maintenance windows; the last known ones hold");
            }
            clock.sleep(REFRESH_INTERVAL).await;
        }
    }

    async fn refresh(&self, members_at: &mut Timestamp, now: Timestamp) -> Result<(), DbError> {
        let rows = self.db.maintenances().ending_after(now).await?;
        let known = self.known();
        if rows == known.rows && now.since(*members_at) < MEMBERS_INTERVAL {
            return Ok(());
        }
        let groups = self.members(&rows).await?;
        *members_at = now;
        self.keep(known.then(rows, groups, now));
        Ok(())
    }

    async fn members(
        &self,
        rows: &[MaintenanceRow],
    ) -> Result<HashMap<String, Vec<String>>, DbError> {
        let of_group = |row: &&MaintenanceRow| row.of == MaintenanceOf::Group;
        let wanted: BTreeSet<&str> =
            rows.iter().filter(of_group).map(|row| row.target.as_str()).collect();
        let mut groups: HashMap<String, Vec<String>> = HashMap::new();
        for group in wanted {
            let mut after = (String::new(), String::new());
            loop {
                let place = (after.0.as_str(), after.1.as_str());
                let page = self.db.groups().hosts(group, place, MEMBERS_PER_QUERY).await?;
                let Some(last) = page.last() else { break };
                after = (last.group.to_owned(), last.host.to_owned());
                for member in page {
                    groups.entry(member.host).or_default().push(member.group);
                }
            }
        }
        Ok(groups)
    }

    fn keep(&self, windows: Windows) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(windows);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Windows of one host.
    pub(crate) fn windows(host: &str, span: std::ops::Range<i64>) -> Windows {
        let row = MaintenanceRow {
            id: "w1".to_owned(),
            of: MaintenanceOf::Host,
            target: host.to_owned(),
            starts_at: Timestamp(span.start),
            ends_at: Timestamp(span.end),
            reason: "new disks".to_owned(),
            created_by: "ann".to_owned(),
            created_at: Timestamp(0),
        };
        Windows { rows: vec![row], ..Windows::default() }
    }

    #[test]
    fn a_window_holds_from_its_first_moment_until_its_end_for_its_hosts() {
        let mut windows = windows("web-1", 10..20);
        let labels = |host| Labels::from_pairs([("alertname", "Down"), ("endpoint", host)]);
        let holds =
            |windows: &Windows, host, now| windows.holding(&labels(host), Timestamp(now)).is_some();
        assert_eq!(
            [9, 10, 19, 20].map(|now| holds(&windows, "web-1", now)),
            [false, true, true, false]
        );
        assert!(!holds(&windows, "web-2", 15));

        windows.rows[0].of = MaintenanceOf::Group;
        windows.rows[0].target = "corp.pay".to_owned();
        windows.groups.insert("web-2".to_owned(), vec!["corp.pay.web".to_owned()]);
        assert!(holds(&windows, "web-2", 15) && !holds(&windows, "web-1", 15));
    }

    #[test]
    fn the_end_of_a_window_is_noticed_and_so_is_who_leaves_its_group() {
        let known = windows("web-1", 10..20);
        let same = known.then(known.rows.clone(), HashMap::new(), Timestamp(15));
        assert_eq!(same.ended_at(), Timestamp::MIN);
        assert_eq!(known.then(Vec::new(), HashMap::new(), Timestamp(21)).ended_at(), Timestamp(21));
        let taken_back = known.then(Vec::new(), HashMap::new(), Timestamp(9));
        assert_eq!(taken_back.ended_at(), Timestamp::MIN, "it never held anything");
        let group = [("web-1".to_owned(), vec!["corp".to_owned()])].into();
        let with_group = same.then(same.rows.clone(), group, Timestamp(16));
        let left = with_group.then(with_group.rows.clone(), HashMap::new(), Timestamp(18));
        assert_eq!(left.ended_at(), Timestamp(18));
    }
}
