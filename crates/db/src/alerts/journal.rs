//! The journal of alerts: what is durable and not yet in the tables.
//!
//! Where one process on SQLite has the alerts for itself, news of a whole request are one row of bytes, and so are the
//! outcomes of many notifications. What the rows say is kept in memory until it is written into the tables in bulk: an
//! alert that changed ten times meanwhile costs one row, not ten. After a crash the journal is put into the tables
//! before anything else. Who asks for what only the tables can answer settles the journal first, so everybody reads
//! the truth.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Fingerprint, FingerprintHashes, FingerprintMap, FingerprintSet, Timestamp};
use tokio::sync::Mutex;

use super::hold::Hold;
use super::packed::{Item, Packer, item_at, items};
use super::{
    AlertCount, AlertEvent, AlertStatus, Alerts, Delivery, DeliveryResult, StoredAlert, Told,
};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

/// With more bytes waiting, who wants to add some writes the tables first.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Whatever waits for longer is written into the tables.
const WAITING_FOR_MAX: Duration = Duration::from_secs(60);
/// Items that one transaction brings into the tables: others want to write between them.
const ITEMS_PER_TRANSACTION: usize = 2_000;

const READ: &str = "read the journal of alerts";
const SETTLE: &str = "write alerts into their tables";

/// What is in the journal, and which alerts there are.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The latest number. Held while an entry is written, so that memory and table have one order.
    writing: Mutex<i64>,
    settling: Mutex<()>,
    known: StdMutex<Known>,
}

/// An item in an entry that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which entry, counted from the first that ever waited, modulo 2^32.
    entry: u32,
    at: u32,
}

#[derive(Debug)]
struct Standing {
    status: AlertStatus,
    priority: u8,
    ends_at: Timestamp,
    /// Where it is, unless the table has it.
    place: Option<Place>,
}

#[derive(Debug, Default)]
struct Known {
    alerts: FingerprintMap<Standing>,
    /// Latest news of any alert.
    latest: Option<Timestamp>,
    /// Entries of the notification log that wait, by alert and number of the receiver.
    told: HashMap<(Fingerprint, u32), Place, FingerprintHashes>,
    receivers: Vec<String>,
    /// Alerts of which the table of the notification log has entries.
    told_in_table: FingerprintSet,
    has_failed: bool,
    /// Those that wait, with their numbers in the table.
    entries: VecDeque<(i64, Arc<[u8]>)>,
    /// How many waited before them, modulo 2^32.
    entries_before: u32,
    bytes: usize,
    /// When somebody first saw that something waits.
    waits_since: Option<Timestamp>,
}

/// What of some entries goes into the tables.
#[derive(Debug, Default)]
struct Share {
    alerts: Vec<StoredAlert>,
    events: Vec<(AlertEvent, bool)>,
    told: Vec<Told>,
    deliveries: Vec<Delivery>,
    /// Number of the last entry, and how many there are.
    last: i64,
    entries: usize,
}

impl Share {
    fn items(&self) -> usize {
        self.alerts.len() + self.events.len() + self.told.len() + self.deliveries.len()
    }
}

impl Alerts<'_> {
    /// Takes the alerts for this process alone, if they are in SQLite; answers whether they are. What an earlier run
    /// left in the journal is brought into the tables, and writes go to the journal from now on and reach the tables
    /// within about a minute; call [`Alerts::settle_old`] every few seconds then. Fails after some seconds when
    /// another process has the alerts of this file.
    pub async fn keep_journal(&self) -> Result<bool, DbError> {
        let Some(file) = self.db.file() else { return Ok(false) };
        if self.db.journal().is_some() {
            return Ok(true);
        }
        self.db.keep_hold(Hold::take(file).await?);
        let journal = Journal::open(self.db).await?;
        journal.settle(self.db).await?;
        self.db.keep(journal);
        Ok(true)
    }

    /// Writes what waits in the journal into the tables. Whoever reads or writes one of the tables by a statement that
    /// is not in this module calls it before.
    pub async fn settle(&self) -> Result<(), DbError> {
        match self.db.journal() {
            Some(journal) => journal.settle(self.db).await,
            None => Ok(()),
        }
    }

    /// Settles the journal when something has waited there for long, and lets SQLite bring its log into the file, so
    /// that no commit has to.
    pub async fn settle_old(&self, now: Timestamp) -> Result<(), DbError> {
        let Some(journal) = self.db.journal() else { return Ok(()) };
        if journal.is_old(now) {
            journal.settle(self.db).await?;
        }
        // Nobody waits for a passive one: it leaves what others are at work on.
        let checkpoint = Statement::new("PRAGMA wal_checkpoint(PASSIVE)");
        self.db.records("bring the log into the file", checkpoint, |_| Ok(())).await.map(drop)
    }
}

impl Journal {
    /// With what the tables and the journal hold.
    async fn open(db: &Db) -> Result<Self, DbError> {
        let query = Statement::new("SELECT id, body FROM alert_journal ORDER BY id");
        let read = |row: &Record| Ok((row.integer::<i64>("id")?, row.bytes("body")?));
        let entries = db.records(READ, query, read).await?;
        let mut known = Known::read(db).await?;
        let last = entries.last().map_or(0, |(id, _)| *id);
        for (id, body) in entries {
            known.take_in(id, body.into()).ok_or_else(|| damaged(id))?;
        }
        Ok(Self {
            writing: Mutex::new(last),
            settling: Mutex::new(()),
            known: StdMutex::new(known),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry. When this returns it is durable.
    pub(super) async fn append(&self, db: &Db, packer: Packer<'_>) -> Result<(), DbError> {
        if packer.is_empty() {
            return Ok(());
        }
        if self.known().bytes > WAITING_BYTES_MAX {
            self.settle(db).await?;
        }
        let mut last = self.writing.lock().await;
        *last += 1;
        let body = packer.finish();
        let entry: Arc<[u8]> = body.as_slice().into();
        let insert = Statement::new("INSERT INTO alert_journal (id, body) VALUES (?, ?)");
        db.execute("store alerts", insert.bind(*last).bind(body)).await?;
        self.known().take_in(*last, entry).ok_or_else(|| damaged(*last))
    }

    /// Writes what waits into the tables.
    async fn settle(&self, db: &Db) -> Result<(), DbError> {
        let _turn = self.settling.lock().await;
        // What comes while this runs is left for the next time: a storm must not hold a reader up for ever.
        let Some((end, _)) = self.known().entries.back().cloned() else { return Ok(()) };
        loop {
            let share = self.known().share(end).map_err(damaged)?;
            if share.entries == 0 {
                return Ok(());
            }
            in_transaction!(db, SETTLE, tx => {
                super::put_alerts(tx, &share.alerts).await?;
                super::put_events(tx, share.events.iter().map(|(event, is_queued)| (event, *is_queued))).await?;
                super::notifications::put(tx, &share.told, &share.deliveries).await?;
                let delete = Statement::new("DELETE FROM alert_journal WHERE id <= ?");
                tx.execute(delete.bind(share.last)).await
            })?;
            self.known().forget(share.entries);
            // A storm that goes on writes in between.
            tokio::task::yield_now().await;
        }
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let mut known = self.known();
        if known.entries.is_empty() {
            known.waits_since = None;
            return false;
        }
        let since = *known.waits_since.get_or_insert(now);
        let is_old = now.since(since) >= WAITING_FOR_MAX;
        if is_old {
            known.waits_since = None;
        }
        is_old
    }

    /// Runs `work`, which may remove rows from the tables, while nothing waits and nothing can be added; then looks at
    /// the tables anew.
    pub(super) async fn while_settled<T>(
        &self,
        db: &Db,
        work: impl Future<Output = Result<T, DbError>>,
    ) -> Result<T, DbError> {
        let _nobody_writes = self.writing.lock().await;
        self.settle(db).await?;
        let answer = work.await;
        let read = Known::read(db).await?;
        *self.known() = read;
        answer
    }

    /// These alerts as far as they wait, and those that are in the table.
    pub(super) fn alerts(
        &self,
        fingerprints: &[Fingerprint],
    ) -> Result<(Vec<StoredAlert>, Vec<Fingerprint>), DbError> {
        let (mut places, mut in_table) = (Vec::new(), Vec::new());
        let known = self.known();
        for fingerprint in fingerprints {
            match known.alerts.get(fingerprint) {
                Some(Standing { place: Some(place), .. }) => places.push(known.find(*place)),
                Some(_) => in_table.push(*fingerprint),
                None => {}
            }
        }
        drop(known);
        let read = |place: Option<Found>| match place.as_ref()?.item()? {
            Item::Alert(alert) => alert.read(),
            _ => None,
        };
        let waiting: Option<Vec<StoredAlert>> = places.into_iter().map(read).collect();
        Ok((waiting.ok_or_else(|| damaged(0))?, in_table))
    }

    /// The log entries of these alerts that wait, of one receiver or all, and the alerts of which the table has some.
    pub(super) fn told(
        &self,
        fingerprints: &[Fingerprint],
        receiver: Option<&str>,
    ) -> Result<(Vec<Told>, Vec<Fingerprint>), DbError> {
        let (mut places, mut in_table) = (Vec::new(), Vec::new());
        let known = self.known();
        let is_wanted = |name: &String| receiver.is_none_or(|wanted| wanted == name);
        let numbers: Vec<u32> = (0..)
            .zip(&known.receivers)
            .filter(|(_, name)| is_wanted(name))
            .map(|(n, _)| n)
            .collect();
        for fingerprint in fingerprints {
            let waiting =
                numbers.iter().filter_map(|number| known.told.get(&(*fingerprint, *number)));
            places.extend(waiting.map(|place| known.find(*place)));
            if known.told_in_table.contains(fingerprint) {
                in_table.push(*fingerprint);
            }
        }
        drop(known);
        let read = |place: Option<Found>| match place.as_ref()?.item()? {
            Item::Told(told) => told.read(),
            _ => None,
        };
        let waiting: Option<Vec<Told>> = places.into_iter().map(read).collect();
        Ok((waiting.ok_or_else(|| damaged(0))?, in_table))
    }

    /// Fingerprints of firing alerts whose lease is over, the longest overdue first.
    pub(super) fn overdue(&self, now: Timestamp, max: usize) -> Vec<Fingerprint> {
        let known = self.known();
        let is_overdue =
            |standing: &Standing| standing.status == AlertStatus::Firing && standing.ends_at <= now;
        let overdue = known.alerts.iter().filter(|(_, standing)| is_overdue(standing));
        let mut overdue: Vec<(Timestamp, Fingerprint)> =
            overdue.map(|(fingerprint, standing)| (standing.ends_at, *fingerprint)).collect();
        drop(known);
        overdue.sort_unstable();
        overdue.truncate(max);
        overdue.into_iter().map(|(_, fingerprint)| fingerprint).collect()
    }

    pub(super) fn counts(&self) -> Vec<AlertCount> {
        let mut counts: HashMap<(AlertStatus, u8), u64> = HashMap::new();
        for standing in self.known().alerts.values() {
            *counts.entry((standing.status, standing.priority)).or_default() += 1;
        }
        let count = |((status, priority), alerts)| AlertCount { status, priority, alerts };
        counts.into_iter().map(count).collect()
    }

    pub(super) fn count_all(&self) -> u64 {
        self.known().alerts.len() as u64
    }

    pub(super) fn last_update(&self) -> Option<Timestamp> {
        self.known().latest
    }

    /// Whether a notification that was given up may wait.
    pub(super) fn has_failed(&self) -> bool {
        self.known().has_failed
    }
}

impl Known {
    /// What the tables hold.
    async fn read(db: &Db) -> Result<Self, DbError> {
        let query = "SELECT fingerprint, status, priority, ends_at, updated_at FROM alert";
        let read = |row: &Record| {
            let standing = Standing {
                status: row.word("status", AlertStatus::parse)?,
                priority: row.integer("priority")?,
                ends_at: row.timestamp("ends_at")?,
                place: None,
            };
            let fingerprint = row.word("fingerprint", Fingerprint::parse)?;
            Ok((fingerprint, standing, row.timestamp("updated_at")?))
        };
        let mut known = Self::default();
        for (fingerprint, standing, updated_at) in
            db.records(READ, Statement::new(query), read).await?
        {
            known.latest = known.latest.max(Some(updated_at));
            known.alerts.insert(fingerprint, standing);
        }
        let query = Statement::new("SELECT DISTINCT fingerprint FROM notification_log");
        let read = |row: &Record| row.word("fingerprint", Fingerprint::parse);
        known.told_in_table = db.records(READ, query, read).await?.into_iter().collect();
        Ok(known)
    }

    /// Notes what an entry says; `None` when it is damaged.
    fn take_in(&mut self, id: i64, entry: Arc<[u8]>) -> Option<()> {
        let number = self.number_of_entry(self.entries.len());
        for item in items(&entry) {
            let (at, item) = item?;
            let place = || Some(Place { entry: number, at: u32::try_from(at).ok()? });
            match item {
                Item::Alert(alert) => {
                    self.latest = self.latest.max(Some(alert.updated_at));
                    let standing = Standing {
                        status: alert.status,
                        priority: alert.priority,
                        ends_at: alert.ends_at,
                        place: Some(place()?),
                    };
                    self.alerts.insert(alert.fingerprint, standing);
                }
                Item::Told(told) => {
                    self.has_failed |= told.result == DeliveryResult::Failed;
                    let number = self.number_of(told.receiver);
                    self.told.insert((told.fingerprint, number), place()?);
                }
                Item::Event(_) | Item::Delivery(_) => {}
            }
        }
        self.bytes += entry.len();
        self.entries.push_back((id, entry));
        Some(())
    }

    /// The number in a [`Place`] of the entry with this index.
    fn number_of_entry(&self, index: usize) -> u32 {
        self.entries_before.wrapping_add(index as u32)
    }

    fn find(&self, place: Place) -> Option<Found> {
        let index = place.entry.wrapping_sub(self.entries_before);
        let (_, entry) = self.entries.get(usize::try_from(index).ok()?)?;
        Some(Found { entry: Arc::clone(entry), at: usize::try_from(place.at).ok()? })
    }

    fn number_of(&mut self, receiver: &str) -> u32 {
        if let Some((number, _)) = (0..).zip(&self.receivers).find(|(_, known)| *known == receiver)
        {
            return number;
        }
        self.receivers.push(receiver.to_owned());
        self.receivers.len() as u32 - 1
    }

    /// What of the first entries, up to number `end`, goes into the tables now; alerts and log entries that a later
    /// entry tells anew are left to that one. The error is the number of a damaged entry.
    fn share(&self, end: i64) -> Result<Share, i64> {
        let mut share = Share::default();
        let entries = self.entries.iter().enumerate().take_while(|(_, (id, _))| *id <= end);
        for (index, (id, entry)) in entries {
            if share.items() >= ITEMS_PER_TRANSACTION {
                break;
            }
            let number = self.number_of_entry(index);
            for item in items(entry) {
                item.and_then(|(at, item)| self.add(&mut share, number, at, item)).ok_or(*id)?;
            }
            share.last = *id;
            share.entries += 1;
        }
        Ok(share)
    }

    fn add(&self, share: &mut Share, entry: u32, at: usize, item: Item<'_>) -> Option<()> {
        let place = Some(Place { entry, at: u32::try_from(at).ok()? });
        match item {
            Item::Alert(alert) => {
                if self.alerts.get(&alert.fingerprint)?.place == place {
                    share.alerts.push(alert.read()?);
                }
            }
            Item::Told(told) => {
                let receivers = (0..).zip(&self.receivers);
                let number = receivers.into_iter().find(|(_, known)| *known == told.receiver)?.0;
                if self.told.get(&(told.fingerprint, number)).copied() == place {
                    share.told.push(told.read()?);
                }
            }
            Item::Event(event) => share.events.push(event.read()?),
            Item::Delivery(delivery) => share.deliveries.push(delivery.read()?),
        }
        Some(())
    }

    /// The first entries are in the tables.
    fn forget(&mut self, entries: usize) {
        for (_, entry) in self.entries.drain(..entries).collect::<Vec<_>>() {
            let number = self.entries_before;
            self.entries_before = number.wrapping_add(1);
            self.bytes -= entry.len();
            for (at, item) in items(&entry).flatten() {
                let place = Some(Place { entry: number, at: at as u32 });
                match item {
                    Item::Alert(alert) => {
                        if let Some(standing) = self.alerts.get_mut(&alert.fingerprint)
                            && standing.place == place
                        {
                            standing.place = None;
                        }
                    }
                    Item::Told(told) => {
                        let number = self.number_of(told.receiver);
                        let key = (told.fingerprint, number);
                        if self.told.get(&key).copied() == place {
                            self.told.remove(&key);
                            self.told_in_table.insert(told.fingerprint);
                        }
                    }
                    Item::Event(_) | Item::Delivery(_) => {}
                }
            }
        }
        if self.entries.is_empty() {
            self.has_failed = false;
            // A storm left them large.
            self.told.shrink_to_fit();
            self.entries.shrink_to_fit();
        }
    }
}

/// An item that was looked up, to be read when nobody has to wait for it.
struct Found {
    entry: Arc<[u8]>,
    at: usize,
}

impl Found {
    fn item(&self) -> Option<Item<'_>> {
        Some(item_at(&self.entry, self.at)?.0)
    }
}

fn damaged(id: i64) -> DbError {
    let text = format!(
        "entry {id} is damaged or written by another version of Saker: start that one once"
    );
    DbError::during(READ)(sqlx::Error::Decode(text.into()))
}
