//! Sends the messages of a receiver. Of all instances one does so at a time, since the limits of a platform are
//! counted in one place.

mod attempt;

use std::collections::BTreeSet;
use std::time::Duration;

use channels::calls::Calls;
use channels::next::{Plan, Step};
use channels::{Answer, Kind};
use daemon::{Context, Stop};
use db::messages::{AttemptRow, Stage};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::Timestamp;
use tokio::sync::mpsc;

use self::attempt::{Tried, attempt_row};
use super::desk::{Action, BotView, Desk, Item, phone_of};
use super::gather::Clerk;
use super::office::{Bot, Desked, Office, Team};

/// A dead instance's work goes on after so long.
const LEASE: Duration = Duration::from_secs(10);
const RENEW_AFTER: Duration = Duration::from_secs(3);
/// Messages that other instances stored ring no bell here.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Messages of one receiver in memory at most; the others wait in the store.
const ITEMS_MAX: u32 = 5_000;
/// What an account sent within this time counts.
const LOOK_BACK: Duration = Duration::from_secs(61);
/// Calls to a person within this time count.
const CALLS_LOOK_BACK: Duration = Duration::from_secs(3_600);

/// Gives every team a sender, as long as the process runs.
pub(crate) async fn run(office: Office, mut hired: mpsc::Receiver<Desked>, ctx: Context) {
    while let Some(desked) = hired.recv().await {
        let sender = Sender::new(office.clone(), desked);
        ctx.spawn_graceful("sender", move |stop| sender.run(stop));
    }
}

/// The task of one receiver.
#[derive(Debug)]
struct Sender {
    office: Office,
    desked: Desked,
    views: Vec<BotView>,
    lease: String,
    owner: String,
}

impl Sender {
    fn new(office: Office, desked: Desked) -> Self {
        let view = |bot: &Bot| BotView {
            account: bot.account.clone(),
            limits: bot.spec.channel().limits(),
            rings: bot.spec.rings(),
        };
        let views = desked.team.bots.iter().map(view).collect();
        let lease = format!("alarm.send.{}", desked.team.receiver);
        Self { office, desked, views, lease, owner: uuid::Uuid::new_v4().to_string() }
    }

    fn now(&self) -> Timestamp {
        self.office.common.clock.now()
    }

    fn team(&self) -> &Team {
        &self.desked.team
    }

    async fn run(self, stop: Stop) {
        let mut desk = Desk::default();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Tried>> = FuturesUnordered::new();
        let (mut holds_until, mut is_news) = (Timestamp::MIN, true);
        let stop_requested = stop.clone().requested();
        tokio::pin!(stop_requested);
        loop {
            // Asked once a round: a stop that comes in the midst of it must still wake the wait below.
            let is_stopping = stop.is_requested();
            let is_leaving = is_stopping || !self.office.employs(&self.desked.team);
            if is_leaving && under_way.is_empty() {
                break;
            }
            let mut wait = POLL_INTERVAL;
            // What is under way from a lease that lapsed is settled first: it must not be sent again beside it.
            let may_work = holds_until > self.now() || under_way.is_empty();
            if !is_leaving
                && may_work
                && self.is_ours(&mut holds_until, &mut desk, &mut is_news).await
            {
                if is_news {
                    self.load(&mut desk).await;
                    is_news = false;
                }
                self.leave_out_muted(&mut desk).await;
                self.hold_back(&mut desk).await;
                let next_at = self.start(&mut desk, &mut under_way).await;
                wait = wait.min(next_at.since(self.now())).max(Duration::from_millis(5));
            }
            tokio::select! {
                Some(tried) = under_way.next(), if !under_way.is_empty() => {
                    self.settle(&mut desk, tried).await;
                }
                () = self.desked.bell.notified() => is_news = true,
                () = self.office.common.clock.sleep(wait) => is_news = true,
                () = &mut stop_requested, if !is_stopping => {}
            }
        }
        if let Err(error) = self.office.common.state.release_lease(&self.lease, &self.owner).await {
            tracing::debug!(error = daemon::error_chain(&error), "the lease ends by itself");
        }
    }

    /// Whether this instance sends for the receiver now.
    async fn is_ours(
        &self,
        holds_until: &mut Timestamp,
        desk: &mut Desk,
        is_news: &mut bool,
    ) -> bool {
        let now = self.now();
        if holds_until.since(now) > LEASE - RENEW_AFTER {
            return true;
        }
        let was_ours = *holds_until > now;
        if self.office.common.is_alone {
            // Nobody else can send: the lease of a killed process is not waited for.
            self.look_back(now).await;
            (*holds_until, *is_news) = (Timestamp::MAX, true);
            return true;
        }
        match self.office.common.state.take_lease(&self.lease, &self.owner, LEASE, now).await {
            Ok(Some(lease)) => {
                if !was_ours {
                    *desk = Desk::default();
                    *is_news = true;
                    self.look_back(now).await;
                }
                *holds_until = lease.until;
                true
            }
            Ok(None) => {
                *holds_until = Timestamp::MIN;
                false
            }
            Err(error) => {
                self.store_failed("take the lease of a receiver", &daemon::error_chain(&error));
                was_ours
            }
        }
    }

    /// What the accounts sent before this instance took over counts as well.
    async fn look_back(&self, now: Timestamp) {
        self.look_back_at_calls(now).await;
        for view in &self.views {
            if view.limits.per_minute == 0 {
                continue;
            }
            let from = now.minus(LOOK_BACK);
            let sent = self.office.common.db.messages().sent_by(&view.account, from).await;
            match sent {
                Ok(sent) => self.office.with_windows(|windows| {
                    let window = windows.entry(view.account.clone()).or_default();
                    *window = channels::window::Window::default();
                    for at in sent {
                        window.take(view.limits, at);
                    }
                }),
                Err(error) => {
                    self.store_failed("read recent attempts", &daemon::error_chain(&error));
                }
            }
        }
    }

    /// Whom a process before this one, or another instance, called within the hour.
    async fn look_back_at_calls(&self, now: Timestamp) {
        for view in self.views.iter().filter(|view| view.rings) {
            let messages = self.office.common.db.messages();
            match messages.reached_by(&view.account, now.minus(CALLS_LOOK_BACK)).await {
                Ok(called) => self.office.with_windows(|windows| {
                    for (recipient, at) in called {
                        windows.entry(phone_of(&recipient)).or_default().calls.note(at);
                    }
                }),
                Err(error) => {
                    self.store_failed("read recent calls", &daemon::error_chain(&error));
                }
            }
        }
    }

    /// Works on the calls to those whom messages are for.
    fn with_phones(&self, desk: &Desk, ids: &[String], work: impl Fn(&mut Calls)) {
        let recipients = ids.iter().filter_map(|id| desk.get(id)).map(|item| &item.row.recipient);
        let phones: BTreeSet<String> = recipients.map(|name| phone_of(name)).collect();
        self.office.with_windows(|windows| {
            for phone in phones {
                work(&mut windows.entry(phone).or_default().calls);
            }
        });
    }

    async fn load(&self, desk: &mut Desk) {
        let messages = self.office.common.db.messages();
        let found = async {
            let ids = messages.open_ids(&self.team().receiver, ITEMS_MAX).await?;
            let new: Vec<String> = ids.into_iter().filter(|id| !desk.knows(id)).collect();
            if new.is_empty() { Ok(Vec::new()) } else { messages.load(&new).await }
        };
        match found.await {
            Ok(rows) => {
                for row in rows {
                    let id = row.id.clone();
                    match Item::read(row) {
                        Some(item) => desk.add(item),
                        None => tracing::error!(message.id = id, "cannot read a stored message"),
                    }
                }
            }
            Err(error) => self.store_failed("load messages", &daemon::error_chain(&error)),
        }
    }

    /// The person who muted is left out, also if the message was built before. Whoever heard of the beginning
    /// hears of the end.
    async fn leave_out_muted(&self, desk: &mut Desk) {
        let now = self.now();
        let mutes = self.office.mutes.known();
        let muted: Vec<(String, String)> = desk
            .due(now)
            .filter_map(|item| {
                let subject = item.body.subject.as_ref()?;
                let mute = mutes.holding(&item.row.recipient, subject, now)?;
                Some((
                    item.row.id.clone(),
                    format!("muted by {} until {}", mute.actor, mute.until.rfc3339()),
                ))
            })
            .collect();
        for (id, why) in muted {
            let Some(item) = desk.get(&id) else { continue };
            if item.body.message.kind == Kind::Resolved {
                let (thread, recipient) = (&item.row.thread, &item.row.recipient);
                match self.office.common.db.messages().was_told(thread, recipient).await {
                    Ok(false) => {}
                    Ok(true) => continue,
                    Err(error) => {
                        self.store_failed("look for a beginning", &daemon::error_chain(&error));
                        continue;
                    }
                }
            }
            let Some(mut item) = desk.take(&id) else { continue };
            let row = &mut item.row;
            (row.stage, row.done_at, row.detail) = (Stage::Muted, now, why);
            row.code.clear();
            self.store(desk, vec![item], &[]).await;
        }
    }

    /// What is not urgent waits for the end of quiet hours, also if the message was built before they were made.
    async fn hold_back(&self, desk: &mut Desk) {
        let (directory, now) = (self.office.common.directory.known(), self.now());
        let clerk = Clerk { directory: &directory, zone: &self.office.zone, now };
        let mut items = Vec::new();
        for (id, wait) in clerk.changes(desk) {
            let Some(mut item) = desk.take(&id) else { continue };
            self.office.metrics.held(wait.as_ref());
            item.wait(wait, now);
            items.push(item);
        }
        if !items.is_empty() {
            self.store(desk, items, &[]).await;
        }
    }

    /// Starts what can be started; answers when there may be more.
    async fn start<'a>(
        &'a self,
        desk: &mut Desk,
        under_way: &mut FuturesUnordered<BoxFuture<'a, Tried>>,
    ) -> Timestamp {
        loop {
            if under_way.len() >= self.team().concurrency {
                return Timestamp::MAX;
            }
            let now = self.now();
            let action = self.office.with_windows(|windows| desk.next(&self.views, windows, now));
            match action {
                Action::Wait(at) => return at,
                Action::EndRound(id) => {
                    let Some(mut item) = desk.take(&id) else { continue };
                    let step = item.progress.end_round(&Plan::default(), now);
                    item.apply(&step, false, now);
                    self.store(desk, vec![item], &[]).await;
                }
                Action::Send { bot, ids } => {
                    let view = &self.views[bot];
                    self.office.with_windows(|windows| {
                        let window = windows.entry(view.account.clone()).or_default();
                        window.take(view.limits, now);
                    });
                    if view.rings {
                        self.with_phones(desk, &ids, |calls| calls.note(now));
                    }
                    self.note_beginning(bot, &ids, now).await;
                    desk.mark_busy(&ids);
                    let items: Vec<&Item> = ids.iter().filter_map(|id| desk.get(id)).collect();
                    let parcel = self.parceled(&self.team().bots[bot], &items, now);
                    if let Ok(parcel) = &parcel {
                        self.office.keep_list(&parcel.message, now).await;
                    }
                    under_way.push(self.attempt(bot, ids, parcel, now).boxed());
                }
            }
        }
    }

    async fn settle(&self, desk: &mut Desk, tried: Tried) {
        let now = self.now();
        let Tried { ids, bot, answer, began_at, took } = tried;
        let (team, view) = (self.team(), &self.views[bot]);
        let account = &view.account;
        let answer = self.without_secrets(bot, answer, now);
        self.office.metrics.attempted(&team.receiver, &team.bots[bot].name, &answer);
        match &answer {
            Answer::Limited { cool_down, .. } => self.office.with_windows(|windows| {
                let window = windows.entry(account.clone()).or_default();
                window.rest(now.plus(*cool_down));
            }),
            Answer::Login { .. } => self.office.keep_token(account, None, now),
            _ => {}
        }
        if view.rings && !matches!(answer, Answer::Sent { .. }) {
            self.with_phones(desk, &ids, |calls| calls.take_back(began_at));
        }
        let is_digest = ids.len() > 1;
        let (mut items, mut attempts) = (Vec::new(), Vec::new());
        for id in &ids {
            let Some(mut item) = desk.take(id) else { continue };
            let step = item.answered(bot, self.views.len(), &answer, is_digest, now);
            if step == Step::GiveUp {
                tracing::warn!(
                    receiver.name = team.receiver,
                    message.id = id,
                    code = item.row.code,
                    "a message has finally failed: {}",
                    item.row.detail
                );
            }
            attempts.push(attempt_row(id, team, bot, &answer, began_at, took));
            items.push(item);
        }
        self.store(desk, items, &attempts).await;
    }

    /// Writes down how far messages have come; what is still open goes back on the desk.
    async fn store(&self, desk: &mut Desk, items: Vec<Item>, attempts: &[AttemptRow]) {
        let rows: Vec<_> = items.iter().map(|item| item.row.clone()).collect();
        while let Err(error) = self.office.common.db.messages().settle(&rows, attempts).await {
            self.store_failed("note the state of messages", &daemon::error_chain(&error));
            // Without the note it would be sent again by the next instance.
            self.office.common.clock.sleep(POLL_INTERVAL).await;
        }
        for item in items {
            match item.row.stage {
                Stage::Waiting | Stage::Parked => desk.add(item),
                stage => self.office.metrics.finished(&self.team().receiver, stage),
            }
        }
    }

    fn store_failed(&self, what: &'static str, error: &str) {
        self.office.common.metrics.store_failures.inc();
        tracing::error!(receiver.name = self.team().receiver, error, "cannot {what}");
    }
}
