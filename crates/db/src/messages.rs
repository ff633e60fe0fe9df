//! Messages to recipients: what is open, what became of the rest, and every attempt.

use model::{Fingerprint, Timestamp};

use crate::alert_lists;
use crate::record::Record;
use crate::statement::{Statement, Value};
use crate::transaction::{Transaction, in_transaction};
use crate::upsert::Upsert;
use crate::{Db, DbError};

// SQLite binds at most 32,766 values a statement.
const ROWS_PER_STATEMENT: usize = 1000;
const DETAIL_CHARS_MAX: usize = 190;
const CODE_CHARS_MAX: usize = 64;

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It is to be sent as soon as a bot may.
    Waiting,
    /// The first rounds failed: it lies on the failed queue.
    Parked,
    /// A platform has it.
    Sent,
    /// A platform has it as a part of a digest.
    Digested,
    /// The recipient did not want to hear of it.
    Muted,
    /// It has finally failed. It can be sent again.
    Failed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Parked, Self::Sent, Self::Digested, Self::Muted, Self::Failed];

    /// The word in the store, in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Sent => "sent",
            Self::Digested => "digested",
            Self::Muted => "muted",
            Self::Failed => "failed",
        }
    }

    /// Reads [`Stage::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// At most 64 characters; the same for the same thing told to the same recipient.
    pub id: String,
    /// Name of the receiver.
    pub receiver: String,
    /// Name of the person or the chat, at most 190 characters.
    pub recipient: String,
    /// The same for all messages about one alert or group, at most 64 characters.
    pub thread: String,
    /// Firing, resolved, test.
    pub kind: String,
    /// The priority of the most urgent alert: 0 goes first, 6 last.
    pub urgency: u8,
    /// How far it has come.
    pub stage: Stage,
    /// Not to be tried before.
    pub next_at: Timestamp,
    /// When it was decided to send it.
    pub created_at: Timestamp,
    /// When it came to an end; 0 before.
    pub done_at: Timestamp,
    /// The code of the last answer.
    pub code: String,
    /// Its text.
    pub detail: String,
    /// How far it has come, as JSON.
    pub progress: String,
    /// The message, as JSON.
    pub body: String,
}

/// An attempt to send a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Which message.
    pub message_id: String,
    /// The kind of the channel.
    pub channel: String,
    /// Name of the bot.
    pub bot: String,
    /// The account that the platform counts for.
    pub account: String,
    /// When it began.
    pub tried_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// What the answer means.
    pub result: String,
    /// The platform's code.
    pub code: String,
    /// The platform's text.
    pub detail: String,
}

/// Queries over messages.
#[derive(Debug)]
pub struct Messages<'a> {
    pub(crate) db: &'a Db,
}

const MESSAGES: Upsert = Upsert {
    table: "message",
    key: "id",
    updated: &[],
    kept: &[
        "receiver",
        "recipient",
        "thread",
        "kind",
        "urgency",
        "stage",
        "next_at",
        "created_at",
        "done_at",
        "code",
        "detail",
        "progress",
        "body",
    ],
};

const ALERTS: Upsert = Upsert {
    table: "message_alert",
    key: "id",
    updated: &[],
    kept: &["fingerprint", "message_id", "created_at"],
};

const ATTEMPTS: Upsert = Upsert {
    table: "message_attempt",
    key: "id",
    updated: &["duration_ms", "result", "code", "detail"],
    kept: &["message_id", "channel", "bot", "account", "tried_at"],
};

impl Messages<'_> {
    /// Stores messages with the alerts they are about, all or none. One that is there stays as it is.
    pub async fn add(
        &self,
        messages: &[MessageRow],
        alerts: &[Fingerprint],
    ) -> Result<(), DbError> {
        // Collected first: the closures would have the future depend on their lifetimes.
        let rows: Vec<(String, Vec<Value>)> =
            messages.iter().map(|row| (row.id.clone(), values(row))).collect();
        let mut links: Vec<(String, Vec<Value>)> = Vec::new();
        for row in messages {
            for alert in alerts {
                let alert = alert.to_string();
                let key = format!("{}{alert}", row.id);
                links.push((
                    key,
                    vec![alert.into(), row.id.as_str().into(), row.created_at.0.into()],
                ));
            }
        }
        in_transaction!(self.db, "store messages", tx => {
            MESSAGES.store(tx, rows.iter().cloned()).await?;
            ALERTS.store(tx, links.iter().cloned()).await
        })
    }

    /// The ids of the open messages of a receiver, the most urgent first and the oldest first among equals.
    pub async fn open_ids(&self, receiver: &str, max: u32) -> Result<Vec<String>, DbError> {
        let query = Statement::new(
            "SELECT id FROM message WHERE receiver = ? AND stage IN ('waiting', 'parked') \
             ORDER BY urgency, created_at, id LIMIT ?",
        );
        let query = query.bind(receiver).bind(max);
        self.db.records("find open messages", query, |row| row.text("id")).await
    }

    /// Messages by their ids.
    pub async fn load(&self, ids: &[String]) -> Result<Vec<MessageRow>, DbError> {
        let mut rows = Vec::new();
        for chunk in ids.chunks(ROWS_PER_STATEMENT) {
            let mut query = Statement::new("SELECT * FROM message WHERE id IN ");
            query.push_list(chunk.iter().map(String::as_str));
            query.push(" ORDER BY urgency, created_at, id");
            rows.extend(self.db.records("load messages", query, read_message).await?);
        }
        Ok(rows)
    }

    /// Notes how far messages have come, with the attempts that led there, in one transaction. Of the rows only
    /// stage, times, code, detail and progress are written.
    pub async fn settle(
        &self,
        messages: &[MessageRow],
        attempts: &[AttemptRow],
    ) -> Result<(), DbError> {
        let mut rows: Vec<(String, Vec<Value>)> = Vec::new();
        for (position, attempt) in attempts.iter().enumerate() {
            // The same attempt is one row, however often the transaction is tried, and when its answer comes.
            let key = format!("{}{}-{position}", attempt.message_id, attempt.tried_at.0);
            rows.push((key, attempt_values(attempt)));
        }
        in_transaction!(self.db, "note the state of messages", tx => {
            for message in messages {
                settle_one(tx, message).await?;
            }
            ATTEMPTS.store(tx, rows.iter().cloned()).await
        })
    }

    /// When an account sent messages after `from`, the oldest first.
    pub async fn sent_by(&self, account: &str, from: Timestamp) -> Result<Vec<Timestamp>, DbError> {
        let query = Statement::new(
            "SELECT DISTINCT tried_at FROM message_attempt WHERE tried_at > ? AND account = ? \
             ORDER BY tried_at",
        );
        let query = query.bind(from.0).bind(account);
        self.db.records("count recent messages", query, |row| row.timestamp("tried_at")).await
    }

    /// Whom an account reached after `from`, and when, the oldest first; what was begun and not answered counts.
    pub async fn reached_by(
        &self,
        account: &str,
        from: Timestamp,
    ) -> Result<Vec<(String, Timestamp)>, DbError> {
        let query = Statement::new(
            "SELECT DISTINCT message.recipient AS recipient, message_attempt.tried_at AS tried_at \
             FROM message_attempt JOIN message ON message.id = message_attempt.message_id \
             WHERE message_attempt.tried_at > ? AND message_attempt.account = ? \
             AND message_attempt.result IN ('sent', 'begun') ORDER BY message_attempt.tried_at",
        );
        let read = |row: &Record| Ok((row.text("recipient")?, row.timestamp("tried_at")?));
        let query = query.bind(from.0).bind(account);
        self.db.records("look for who was reached", query, read).await
    }

    /// Whether this recipient was told the beginning that `thread` is about.
    pub async fn was_told(&self, thread: &str, recipient: &str) -> Result<bool, DbError> {
        let query = Statement::new(
            "SELECT id FROM message WHERE thread = ? AND recipient = ? \
             AND stage IN ('sent', 'digested') AND kind = 'firing' LIMIT 1",
        );
        let query = query.bind(thread).bind(recipient);
        Ok(self.db.record("look for the beginning", query, |row| row.text("id")).await?.is_some())
    }

    /// Who was told of a beginning on a thread since a moment, or is being told.
    pub async fn told_of_beginning(
        &self,
        thread: &str,
        since: Timestamp,
    ) -> Result<Vec<String>, DbError> {
        let query = Statement::new(
            "SELECT DISTINCT recipient FROM message WHERE thread = ? AND kind = 'firing' \
             AND stage IN ('waiting', 'parked', 'sent', 'digested') AND created_at >= ? \
             ORDER BY recipient",
        );
        let query = query.bind(thread).bind(since.0);
        self.db.records("look for who was told", query, |row| row.text("recipient")).await
    }

    /// Messages in a stage, the newest end first.
    pub async fn in_stage(&self, stage: Stage, max: u32) -> Result<Vec<MessageRow>, DbError> {
        let query = Statement::new(
            "SELECT * FROM message WHERE stage = ? ORDER BY done_at DESC, created_at DESC, id LIMIT ?",
        );
        self.db.records("list messages", query.bind(stage.as_str()).bind(max), read_message).await
    }

    /// How many messages each receiver has in each stage.
    pub async fn counts(&self) -> Result<Vec<(String, Stage, u64)>, DbError> {
        let query = Statement::new(
            "SELECT receiver, stage, COUNT(*) AS messages FROM message \
             WHERE stage IN ('waiting', 'parked', 'failed') GROUP BY receiver, stage",
        );
        let read = |row: &Record| {
            Ok((row.text("receiver")?, row.word("stage", Stage::parse)?, row.integer("messages")?))
        };
        self.db.records("count messages", query, read).await
    }

    /// The latest messages about an alert, the newest first.
    pub async fn about(&self, alert: Fingerprint, max: u32) -> Result<Vec<MessageRow>, DbError> {
        let query = Statement::new(
            "SELECT message_id FROM message_alert WHERE fingerprint = ? \
             ORDER BY created_at DESC, message_id LIMIT ?",
        );
        let query = query.bind(alert.to_string()).bind(max);
        let ids = self.db.records("find messages", query, |row| row.text("message_id")).await?;
        let mut rows = self.load(&ids).await?;
        rows.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
        Ok(rows)
    }

    /// The attempts to send these messages, the oldest first.
    pub async fn attempts(&self, ids: &[String]) -> Result<Vec<AttemptRow>, DbError> {
        let mut rows = Vec::new();
        for chunk in ids.chunks(ROWS_PER_STATEMENT) {
            let mut query = Statement::new("SELECT * FROM message_attempt WHERE message_id IN ");
            query.push_list(chunk.iter().map(String::as_str));
            query.push(" ORDER BY tried_at, id");
            rows.extend(self.db.records("load attempts", query, read_attempt).await?);
        }
        Ok(rows)
    }

    /// Forgets what came to an end before `before`, with its attempts; returns how many messages.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        let statement = Statement::new("DELETE FROM message WHERE done_at > 0 AND done_at < ?");
        let gone = self.db.execute("forget messages", statement.bind(before.0)).await?;
        for (operation, text) in [
            ("forget attempts", "DELETE FROM message_attempt WHERE tried_at < ?"),
            ("forget the alerts of messages", "DELETE FROM message_alert WHERE created_at < ?"),
        ] {
            self.db.execute(operation, Statement::new(text).bind(before.0)).await?;
        }
        alert_lists::prune(self.db, before).await?;
        Ok(gone)
    }
}

async fn settle_one(tx: &mut Transaction, row: &MessageRow) -> Result<(), sqlx::Error> {
    let statement = Statement::new(
        "UPDATE message SET stage = ?, next_at = ?, done_at = ?, code = ?, detail = ?, progress = ? \
         WHERE id = ?",
    );
    let statement = statement
        .bind(row.stage.as_str())
        .bind(row.next_at.0)
        .bind(row.done_at.0)
        .bind(cut(&row.code, CODE_CHARS_MAX))
        .bind(cut(&row.detail, DETAIL_CHARS_MAX))
        .bind(row.progress.as_str())
        .bind(row.id.as_str());
    tx.execute(statement).await.map(|_| ())
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

fn values(row: &MessageRow) -> Vec<Value> {
    vec![
        row.receiver.as_str().into(),
        cut(&row.recipient, DETAIL_CHARS_MAX).into(),
        row.thread.as_str().into(),
        row.kind.as_str().into(),
        row.urgency.into(),
        row.stage.as_str().into(),
        row.next_at.0.into(),
        row.created_at.0.into(),
        row.done_at.0.into(),
        cut(&row.code, CODE_CHARS_MAX).into(),
        cut(&row.detail, DETAIL_CHARS_MAX).into(),
        row.progress.as_str().into(),
        row.body.as_str().into(),
    ]
}

fn attempt_values(row: &AttemptRow) -> Vec<Value> {
    vec![
        i64::try_from(row.duration_ms).unwrap_or(i64::MAX).into(),
        row.result.as_str().into(),
        cut(&row.code, CODE_CHARS_MAX).into(),
        cut(&row.detail, DETAIL_CHARS_MAX).into(),
        row.message_id.as_str().into(),
        row.channel.as_str().into(),
        cut(&row.bot, CODE_CHARS_MAX).into(),
        row.account.as_str().into(),
        row.tried_at.0.into(),
    ]
}

fn read_message(row: &Record) -> Result<MessageRow, sqlx::Error> {
    Ok(MessageRow {
        id: row.text("id")?,
        receiver: row.text("receiver")?,
        recipient: row.text("recipient")?,
        thread: row.text("thread")?,
        kind: row.text("kind")?,
        urgency: row.integer("urgency")?,
        stage: row.word("stage", Stage::parse)?,
        next_at: row.timestamp("next_at")?,
        created_at: row.timestamp("created_at")?,
        done_at: row.timestamp("done_at")?,
        code: row.text("code")?,
        detail: row.text("detail")?,
        progress: row.text("progress")?,
        body: row.text("body")?,
    })
}

fn read_attempt(row: &Record) -> Result<AttemptRow, sqlx::Error> {
    Ok(AttemptRow {
        message_id: row.text("message_id")?,
        channel: row.text("channel")?,
        bot: row.text("bot")?,
        account: row.text("account")?,
        tried_at: row.timestamp("tried_at")?,
        duration_ms: row.integer("duration_ms")?,
        result: row.text("result")?,
        code: row.text("code")?,
        detail: row.text("detail")?,
    })
}
