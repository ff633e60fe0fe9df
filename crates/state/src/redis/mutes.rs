//! Mutes of persons. The names are those of Open-Falcon and have no prefix.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use model::Timestamp;

use super::RedisStore;
use crate::{StateError, StoredMute};

const SET: &str = "block_monitor_set";
const META: &str = "{block_monitor_set}:meta";
const KEY_BEGINS: &str = "single_block_monitor_";

impl RedisStore {
    // What is read first is written last: a mute holds from the moment its key is there.
    pub(crate) async fn mute(
        &self,
        id: &str,
        joined: &str,
        body: &str,
        seconds: u64,
        ends_at: Timestamp,
    ) -> Result<(), StateError> {
        const OPERATION: &str = "mute";
        let key = format!("{KEY_BEGINS}{joined}");
        let meta = Meta { until: ends_at, joined: joined.to_owned(), body: body.to_owned() };
        let mut command = redis::cmd("HSET");
        let () = self.ask(OPERATION, command.arg(META).arg(id).arg(meta.write())).await?;
        let () = self.ask(OPERATION, redis::cmd("SADD").arg(SET).arg(&key)).await?;
        // A mute never ends another one early that older readers cannot tell from it.
        let left: i64 = self.ask(OPERATION, redis::cmd("TTL").arg(&key)).await?;
        let others = self.metas().await?.into_values().filter(|meta| meta.joined == joined).count();
        let ttl = if others > 1 { seconds.max(left.max(0).unsigned_abs()) } else { seconds };
        self.ask(OPERATION, redis::cmd("SETEX").arg(&key).arg(ttl).arg(ttl)).await
    }

    pub(crate) async fn unmute(&self, id: &str, joined: &str) -> Result<(), StateError> {
        const OPERATION: &str = "unmute";
        let () = self.ask(OPERATION, redis::cmd("HDEL").arg(META).arg(id)).await?;
        if self.metas().await?.values().any(|meta| meta.joined == joined) {
            return Ok(());
        }
        let key = format!("{KEY_BEGINS}{joined}");
        let () = self.ask(OPERATION, redis::cmd("DEL").arg(&key)).await?;
        let () = self.ask(OPERATION, redis::cmd("SREM").arg(SET).arg(&key)).await?;
        self.ask(OPERATION, redis::cmd("SREM").arg(SET).arg(joined)).await
    }

    pub(crate) async fn mutes(&self, now: Timestamp) -> Result<Vec<StoredMute>, StateError> {
        let members: Vec<String> = self.ask("list mutes", redis::cmd("SMEMBERS").arg(SET)).await?;
        let joined: HashSet<String> = members
            .iter()
            .map(|member| member.strip_prefix(KEY_BEGINS).unwrap_or(member).to_owned())
            .collect();
        let metas = self.metas().await?;
        let (mut live, mut ended) = (Vec::new(), Vec::new());
        for joined in joined {
            let key = format!("{KEY_BEGINS}{joined}");
            let left: i64 = self.ask("look at a mute", redis::cmd("PTTL").arg(&key)).await?;
            let Ok(left @ 1..) = u64::try_from(left) else {
                ended.push(joined);
                continue;
            };
            let end = now.plus(Duration::from_millis(left));
            let own: Vec<&Meta> =
                metas.values().filter(|meta| meta.joined == joined && meta.until > now).collect();
            if own.is_empty() {
                live.push(StoredMute { joined, body: String::new(), until: end });
                continue;
            }
            live.extend(own.into_iter().map(|meta| StoredMute {
                joined: meta.joined.clone(),
                body: meta.body.clone(),
                // An older program may have ended or shortened it by its key.
                until: meta.until.min(end),
            }));
        }
        self.forget(&ended, &metas, now).await?;
        live.sort_by(|a, b| (&a.joined, &a.body).cmp(&(&b.joined, &b.body)));
        Ok(live)
    }

    async fn metas(&self) -> Result<HashMap<String, Meta>, StateError> {
        let found: HashMap<String, Vec<u8>> =
            self.ask("list mutes", redis::cmd("HGETALL").arg(META)).await?;
        Ok(found.into_iter().filter_map(|(id, text)| Some((id, Meta::read(&text)?))).collect())
    }

    /// Takes the names of mutes out that ended a while ago. Not at once: who mutes writes the set before the key.
    async fn forget(
        &self,
        ended: &[String],
        metas: &HashMap<String, Meta>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        const GRACE: Duration = Duration::from_secs(60);
        for (id, meta) in metas {
            if meta.until.plus(GRACE) <= now {
                let () = self.ask("forget a mute", redis::cmd("HDEL").arg(META).arg(id)).await?;
                if ended.contains(&meta.joined) {
                    let key = format!("{KEY_BEGINS}{}", meta.joined);
                    let () =
                        self.ask("forget a mute", redis::cmd("SREM").arg(SET).arg(key)).await?;
                }
            }
        }
        Ok(())
    }
}

/// `<until>:<bytes of joined>:<joined><body>`.
struct Meta {
    until: Timestamp,
    joined: String,
    body: String,
}

impl Meta {
    fn write(&self) -> Vec<u8> {
        let Self { until, joined, body } = self;
        format!("{}:{}:{joined}{body}", until.millis(), joined.len()).into_bytes()
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (until, rest) = text.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let (joined, body) = rest.split_at_checked(length.parse().ok()?)?;
        let until = Timestamp(until.parse().ok()?);
        Some(Self { until, joined: joined.to_owned(), body: body.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_lies_beside_a_mute_reads_back(until: i64, joined: String, body: String) {
            let meta = Meta { until: Timestamp(until), joined: joined.clone(), body: body.clone() };
            let read = Meta::read(&meta.write()).expect("it was written");
            prop_assert_eq!((read.until.0, read.joined, read.body), (until, joined, body));
        }

        #[test]
        fn whatever_lies_there_is_read_or_passed_over(text: Vec<u8>) {
            let _ = Meta::read(&text);
        }
    }
}
