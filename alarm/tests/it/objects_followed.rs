//! Objects of the database reach every instance, and outlive a kill.

use std::path::Path;
use std::time::Duration;

use alarm::{Config, Deps};
use daemon::{Clock, Context};
use db::{Db, DbConfig};
use serde_json::{Value, json};
use state::{RedisConfig, State};
use testkit::{MariaDb, Redis, eventually};

/// Far more than the second in which changes are followed: other tests run beside this one.
const PATIENCE: Duration = Duration::from_secs(60);
const API: &str = "/api/v1/routing";

struct Instance {
    context: Context,
    url: String,
}

impl Instance {
    async fn start(name: &str, db: Db, state: State) -> Self {
        let context = Context::new("alarm", Clock::System).unwrap();
        let text = format!("listen = \"127.0.0.1:0\"\ninstance = \"{name}\"\n");
        let config: Config = toml::from_str(&text).unwrap();
        let address = alarm::start(config, Deps { db, state }, &context).await.unwrap();
        Self { context, url: format!("http://{address}{API}") }
    }

    async fn on(folder: &Path) -> Self {
        let db = Db::open(&folder.join("saker.db")).await.unwrap();
        Self::start("one", db.clone(), State::embedded(db)).await
    }

    async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.context.http.put(format!("{}{path}", self.url));
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.context.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn until_objects(&self, count: usize) -> Value {
        eventually("the objects are followed", PATIENCE, async || {
            Some(self.get("").await).filter(|summary| summary["objects"] == count)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_follow_each_other_and_rows_written_by_hand() {
    let (Some(redis), Some(server)) = (Redis::start().await, MariaDb::start().await) else {
        return;
    };
    let url = server.create_database("saker");
    let open = async || Db::connect(&DbConfig::new(url.clone())).await.unwrap();
    let state = || State::redis(&RedisConfig::new(redis.url())).unwrap();
    let one = Instance::start("one", open().await, state()).await;
    let two = Instance::start("two", open().await, state()).await;
    let hook = "webhook_configs: [{url: 'http://127.0.0.1:9/'}]";
    assert_eq!(one.put("/receivers/hook", hook).await.0, 200);
    two.until_objects(1).await;
    assert_eq!(two.put("/routes/db", "{matchers: [team=db], receiver: hook}").await.0, 200);
    one.until_objects(2).await;
    // What one removes and the other begins to need at the same time: one of the two is refused.
    assert_eq!(one.put("/receivers/free", hook).await.0, 200);
    two.until_objects(3).await;
    let removal = async {
        let request = one.context.http.delete(format!("{}/receivers/free", one.url));
        request.send().await.unwrap().status().as_u16()
    };
    let (removed, (used, _)) =
        tokio::join!(removal, two.put("/routes/late", "{matchers: [a=b], receiver: free}"));
    assert!((removed == 200) != (used == 200), "{removed} {used}");
    server.sql(
        "INSERT INTO saker.routing_object (kind, name, body) VALUES \
         ('inhibition', 'by hand', 'source_matchers: [a=b]\ntarget_matchers: [c=d]\n'), ('route', 'bad', '{')",
    );
    let count = if used == 200 { 6 } else { 4 };
    for instance in [&one, &two] {
        let summary = instance.until_objects(count).await;
        assert_eq!(summary["leftOut"][0]["name"], "bad", "{summary}");
    }
    one.context.stop().await;
    two.context.stop().await;
}

/// What a kill leaves behind is what is in the files at that moment.
fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        if file.file_name() != "saker.db-shm" {
            std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
        }
    }
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_with_200_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = Instance::on(folder.path()).await;
    let texts = [
        ("/receivers/hook", "webhook_configs: [{url: 'http://127.0.0.1:9/'}]"),
        ("/routes/db", "{matchers: [team=db], receiver: hook}"),
        ("/templates/t", "{{ define \"t\" }}x{{ end }}"),
    ];
    for (path, body) in texts {
        assert_eq!(alarm.put(path, body).await.0, 200, "{path}");
    }
    let left = copied(folder.path());
    let again = Instance::on(left.path()).await;
    assert_eq!(again.get("").await["objects"], 3);
    assert_eq!(
        again.get("/routes/db").await["object"],
        json!({ "matchers": ["team=db"], "receiver": "hook" })
    );
    again.context.stop().await;
    alarm.context.stop().await;
}
