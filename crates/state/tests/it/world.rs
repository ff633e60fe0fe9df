//! A state whose time the test moves.

use std::time::Duration;

use ::redis::Script;
use db::{Db, DbConfig};
use model::Timestamp;
use state::{RedisConfig, State};
use tempfile::TempDir;
use testkit::{MariaDb, Redis};

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    place: Place,
}

enum Place {
    Sqlite { _folder: TempDir },
    Mariadb,
    Redis { config: RedisConfig },
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
        Self {
            state: State::embedded(db),
            now: Timestamp(0),
            place: Place::Sqlite { _folder: folder },
        }
    }

    pub(crate) async fn mariadb(server: &MariaDb, name: &str) -> Self {
        let db = Db::connect(&DbConfig::new(server.create_database(name))).await.unwrap();
        Self { state: State::embedded(db), now: Timestamp(0), place: Place::Mariadb }
    }

    pub(crate) fn redis(server: &Redis, prefix: &str) -> Self {
        let config = RedisConfig { prefix: prefix.to_owned(), ..RedisConfig::new(server.url()) };
        let state = State::redis(&config).unwrap();
        Self { state, now: Timestamp(0), place: Place::Redis { config } }
    }

    /// The state as another process sees it, over a connection of its own where there are any.
    pub(crate) fn other_process(&self) -> State {
        match &self.place {
            Place::Redis { config } => State::redis(config).unwrap(),
            Place::Sqlite { .. } | Place::Mariadb => self.state.clone(),
        }
    }

    /// Longer steps of embedded state look as if nobody had looked; Redis' own clock stands almost.
    pub(crate) fn watched_step(&self) -> Duration {
        match &self.place {
            Place::Redis { .. } => Duration::MAX,
            Place::Sqlite { .. } | Place::Mariadb => Duration::from_secs(5),
        }
    }

    /// Lets time pass while nobody looks at the upgrades.
    pub(crate) async fn unwatched(&mut self, span: Duration) {
        self.pass(span).await;
        let Place::Redis { config } = &self.place else { return };
        let client = ::redis::Client::open(config.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let key = format!("{{{}:agent_upgrade_set}}:plan", config.prefix);
        let mut forget = ::redis::cmd("HSET");
        let () = forget.arg(key).arg("looked").arg(0).query_async(&mut connection).await.unwrap();
    }

    /// Lets time pass. Redis measures leases by its own clock, so there everything is made older
    /// by as much; as that clock runs on, a test must not tell moments apart that are less than a
    /// second from each other.
    pub(crate) async fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        let Place::Redis { config } = &self.place else { return };
        let age = Script::new(
            "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{lease/*')) do \
               local left = redis.call('PTTL', key) \
               if left > 0 then redis.call('PEXPIRE', key, math.max(left - ARGV[2], 0)) end \
             end \
             for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':{reserved/*')) do \
               for _, name in ipairs(redis.call('HKEYS', key)) do \
                 local ends, owner = string.match(redis.call('HGET', key, name), '^(%d+) (.*)$') \
                 redis.call('HSET', key, name, string.format('%d ', ends - ARGV[2]) .. owner) \
               end \
               local left = redis.call('PTTL', key) \
               if left > 0 then redis.call('PEXPIRE', key, math.max(left - ARGV[2], 0)) end \
             end \
             for _, kind in ipairs({ ':lease', ':group:*' }) do \
               local keys = '{' .. ARGV[1] .. ':agent_upgrade_set}' .. kind \
               for _, key in ipairs(redis.call('KEYS', keys)) do \
                 for _, host in ipairs(redis.call('ZRANGE', key, 0, -1)) do \
                   redis.call('ZINCRBY', key, -ARGV[2], host) \
                 end \
               end \
             end \
             for _, key in ipairs(redis.call('KEYS', '{' .. ARGV[1] .. ':agent_upgrade_set}:hosts')) do \
               local all = redis.call('HGETALL', key) \
               for n = 1, #all, 2 do \
                 local a, b, c, d, e, f = string.match(all[n + 1], \
                   '^([a-z_]+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$') \
                 redis.call('HSET', key, all[n], string.format('%s|%s|%s|%d|%d|%s', a, b, c, \
                   d - ARGV[2], e - ARGV[2], f)) \
               end \
             end \
             local circle = ARGV[1] .. ':{circle/judge}' \
             for _, name in ipairs(redis.call('HKEYS', circle .. ':members')) do \
               local a, b, c = string.match(redis.call('HGET', circle .. ':members', name), \
                 '^(%-?%d+)|(%d+)|(.*)$') \
               redis.call('HSET', circle .. ':members', name, \
                 string.format('%s|%d|', a, b - ARGV[2]) .. c) \
             end \
             for _, field in ipairs({ 'looked', 'settled_after' }) do \
               local at = redis.call('HGET', circle, field) \
               if at then redis.call('HSET', circle, field, string.format('%d', at - ARGV[2])) end \
             end \
             local plan = '{' .. ARGV[1] .. ':agent_upgrade_set}:plan' \
             if redis.call('EXISTS', plan) == 1 then \
               redis.call('HSET', plan, 'looked', redis.call('TIME')[1] * 1000) \
             end",
        );
        let client = ::redis::Client::open(config.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let millis = u64::try_from(span.as_millis()).unwrap();
        let () = age.arg(&config.prefix).arg(millis).invoke_async(&mut connection).await.unwrap();
    }
}
