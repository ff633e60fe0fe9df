//! The mutes of this instance: a copy of those in the shared state, renewed before a second is over, so that a
//! mute made at any instance holds at all of them within a second. Every entry knows its own end.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use channels::mute::{Mute, Mutes, SECONDS_MAX, SECONDS_MIN, Subject};
use channels::sign;
use daemon::Clock;
use model::Timestamp;
use state::{State, StateError};
use thiserror::Error;

/// Shorter than a second, since reading takes time as well.
const REFRESH_INTERVAL: Duration = Duration::from_millis(700);
const NAME_BYTES_MAX: usize = 500;

/// Why nobody was muted.
#[derive(Debug, Error)]
pub(crate) enum MuteFault {
    /// The length is out of range.
    #[error("{0} seconds are not between {SECONDS_MIN} and {SECONDS_MAX}")]
    Length(u64),
    /// A name is missing or too long.
    #[error("{0} must have 1 to {NAME_BYTES_MAX} bytes")]
    Name(&'static str),
    /// The store failed, so nothing is known to have changed.
    #[error("mutes cannot be stored now; send again")]
    Store(#[from] StateError),
}

/// What to mute for whom.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) user: String,
    /// Open-Falcon's counter; that of `subject`, if there is one.
    pub(crate) counter: String,
    pub(crate) subject: Option<Subject>,
    pub(crate) seconds: u64,
    /// Who asked for it, and where.
    pub(crate) actor: String,
}

impl Wish {
    /// A wish about a subject.
    pub(crate) fn about(user: &str, subject: &Subject, seconds: u64, actor: String) -> Self {
        let (counter, subject) = (subject.counter(), Some(subject.clone()));
        Self { user: user.to_owned(), counter, subject, seconds, actor }
    }
}

/// The mutes; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct MuteBook {
    state: State,
    known: Arc<RwLock<Arc<Mutes>>>,
}

impl MuteBook {
    /// None are known before the first [`MuteBook::load`].
    pub(crate) fn new(state: State) -> Self {
        Self { state, known: Arc::default() }
    }

    /// Those that are known.
    pub(crate) fn known(&self) -> Arc<Mutes> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them from the shared state. On a failure those that are known hold on.
    pub(crate) async fn load(&self, now: Timestamp) -> Result<(), StateError> {
        let stored = self.state.mutes(now).await?.into_iter();
        let mutes = stored.map(|stored| match serde_json::from_str::<Mute>(&stored.body) {
            Ok(mute) => Mute { until: stored.until, ..mute },
            Err(_) => Mute::joined(stored.joined, stored.until),
        });
        let mutes = Arc::new(Mutes::of(mutes));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = mutes;
        Ok(())
    }

    /// Follows the changes of other instances for as long as the process runs.
    pub(crate) async fn follow(self, clock: Clock) {
        let mut was_told = false;
        loop {
            match self.load(clock.now()).await {
                Ok(()) => was_told = false,
                Err(error) if !was_told => {
                    was_told = true;
                    let error = daemon::error_chain(&error);
                    tracing::error!(error, "cannot read the mutes; the last known ones hold");
                }
                Err(_) => {}
            }
            clock.sleep(REFRESH_INTERVAL).await;
        }
    }

    /// Mutes; answers when it ends. It holds here at once.
    pub(crate) async fn mute(&self, wish: Wish, now: Timestamp) -> Result<Timestamp, MuteFault> {
        if !(SECONDS_MIN..=SECONDS_MAX).contains(&wish.seconds) {
            return Err(MuteFault::Length(wish.seconds));
        }
        check(&wish)?;
        let until = now.plus(Duration::from_secs(wish.seconds));
        let (id, joined) = (id(&wish), joined(&wish));
        let mute = Mute {
            user: wish.user,
            counter: wish.counter,
            subject: wish.subject,
            until,
            seconds: wish.seconds,
            actor: wish.actor,
            made_at: now,
        };
        let body = serde_json::to_string(&mute).unwrap_or_default();
        self.state.mute(&id, &joined, &body, mute.seconds, now).await?;
        tracing::info!(
            user.name = mute.user,
            counter = mute.counter,
            seconds = mute.seconds,
            actor = mute.actor,
            "muted"
        );
        self.load(now).await?;
        Ok(until)
    }

    /// Ends a mute, whoever made it.
    pub(crate) async fn unmute(&self, wish: Wish, now: Timestamp) -> Result<(), MuteFault> {
        check(&wish)?;
        self.state.unmute(&id(&wish), &joined(&wish)).await?;
        if wish.subject.is_some() {
            // The same may be muted by its counter alone.
            let by_counter = Wish { subject: None, ..wish.clone() };
            self.state.unmute(&id(&by_counter), &joined(&by_counter)).await?;
        }
        tracing::info!(
            user.name = wish.user,
            counter = wish.counter,
            actor = wish.actor,
            "unmuted"
        );
        Ok(self.load(now).await?)
    }
}

fn check(wish: &Wish) -> Result<(), MuteFault> {
    for (name, text) in [("user_name", &wish.user), ("counter", &wish.counter)] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(MuteFault::Name(name));
        }
    }
    Ok(())
}

fn joined(wish: &Wish) -> String {
    format!("{}_{}", wish.user, wish.counter)
}

/// Parts that read the same when joined have ids of their own.
fn id(wish: &Wish) -> String {
    let parts = serde_json::json!([wish.user, wish.counter, wish.subject]);
    sign::hex(sign::sha256(parts.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(subject: Option<Subject>, counter: &str, seconds: u64) -> Wish {
        let (user, actor) = ("ann".to_owned(), "ann via test".to_owned());
        Wish { user, counter: counter.to_owned(), subject, seconds, actor }
    }

    fn on(endpoint: &str, metric: &str) -> Subject {
        Subject { endpoint: Some(endpoint.to_owned()), metric: metric.to_owned() }
    }

    async fn book() -> (MuteBook, State, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
        let state = State::embedded(db);
        (MuteBook::new(state.clone()), state, folder)
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    #[tokio::test]
    async fn a_mute_holds_at_once_here_and_after_a_look_elsewhere() {
        let (book, state, _folder) = book().await;
        let subject = on("web-03", "cpu");
        let until =
            book.mute(Wish::about("ann", &subject, 3600, "ann".to_owned()), NOW).await.unwrap();
        assert_eq!(until, NOW.plus(Duration::from_secs(3600)));
        assert!(book.known().holding("ann", &subject, NOW).is_some());
        let other = MuteBook::new(state);
        other.load(NOW).await.unwrap();
        assert!(other.known().holding("ann", &subject, NOW).is_some());
        assert!(other.known().holding("ann", &subject, until).is_none());
        other.unmute(Wish::about("ann", &subject, 0, "ann".to_owned()), NOW).await.unwrap();
        book.load(NOW).await.unwrap();
        assert!(book.known().live(NOW).is_empty(), "an empty list is news too");
    }

    /// Fault of the original: a key that could not be read counted as one that is gone, and the mute was deleted.
    #[tokio::test]
    async fn a_store_that_does_not_answer_changes_nothing() {
        let Some(mut server) = testkit::Redis::start().await else { return };
        let config = state::RedisConfig::new(server.url());
        let book = MuteBook::new(State::redis(&config).unwrap());
        let subject = on("web-03", "cpu");
        let wish = || Wish::about("ann", &subject, 3600, "ann".to_owned());
        book.mute(wish(), NOW).await.unwrap();
        server.kill();
        assert!(book.load(NOW).await.is_err());
        assert!(book.known().holding("ann", &subject, NOW).is_some(), "the last known one holds");
        let other = on("web-04", "cpu");
        let refused = book.mute(Wish::about("ann", &other, 3600, String::new()), NOW).await;
        assert!(matches!(refused, Err(MuteFault::Store(_))));
        assert!(
            book.known().holding("ann", &other, NOW).is_none(),
            "what is not stored is no mute"
        );
        assert!(book.unmute(wish(), NOW).await.is_err());
        assert!(book.known().holding("ann", &subject, NOW).is_some());
    }

    #[tokio::test]
    async fn two_subjects_that_join_to_one_name_are_muted_apart() {
        let (book, _, _folder) = book().await;
        let (one, other) = (on("a_b", "c"), on("a", "b_c"));
        book.mute(Wish::about("ann", &one, 60, String::new()), NOW).await.unwrap();
        assert!(book.known().holding("ann", &other, NOW).is_none());
        book.mute(Wish::about("ann", &other, 60, String::new()), NOW).await.unwrap();
        book.unmute(Wish::about("ann", &one, 0, String::new()), NOW).await.unwrap();
        assert!(book.known().holding("ann", &one, NOW).is_none());
        assert!(book.known().holding("ann", &other, NOW).is_some());
    }

    #[tokio::test]
    async fn lengths_and_names_have_limits() {
        let (book, _, _folder) = book().await;
        for seconds in [0, 59, SECONDS_MAX + 1, u64::MAX] {
            let refused = book.mute(wish(None, "cpu", seconds), NOW).await;
            assert!(matches!(refused, Err(MuteFault::Length(_))), "{seconds}");
        }
        for counter in [String::new(), "x".repeat(501)] {
            let refused = book.mute(wish(None, &counter, 60), NOW).await;
            assert!(matches!(refused, Err(MuteFault::Name("counter"))));
        }
        assert!(book.mute(wish(None, "cpu", SECONDS_MAX), NOW).await.is_ok());
    }
}
