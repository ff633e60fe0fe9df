//! Debian's Alertmanager and alarm go by one file of Alertmanager, and Debian's amtool does the same at both: what it
//! says of the one it says of the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use daemon::{Clock, Context};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, eventually, free_port, get_json, get_text, program};

use crate::alarm_process::{Alarm, Platforms};

const SOON: Duration = Duration::from_secs(60);

const CONFIG: &str = "
global: {resolve_timeout: 1h}
route:
  receiver: default
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  routes:
    - {matchers: [team=\"db\"], receiver: db, continue: true}
    - {matchers: [severity=~\"critical|page\"], receiver: pages}
inhibit_rules:
  - {source_matchers: [severity=\"critical\"], target_matchers: [severity=\"warning\"], equal: [host]}
receivers: [{name: default}, {name: db}, {name: pages}]
";

const ALERTS: [&[&str]; 7] = [
    &[
        "DiskFull",
        "host=a",
        "severity=critical",
        "team=db",
        "--annotation=summary=full disk",
        "--generator-url=http://p/g",
    ],
    &["alertname=LoadHigh", "host=a", "severity=warning"],
    &["LoadHigh", "host=b", "severity=warning", "--end=2099-01-01T00:00:00Z"],
    &["NightJob", "team=night"],
    &["Over", "--start=2020-01-01T00:00:00Z", "--end=2020-01-01T01:00:00Z"],
    &["Odd", "path=/a b", "quote=say \"x\""],
    &[],
];

const ALERT_QUERIES: [&[&str]; 23] = [
    &[],
    &["DiskFull"],
    &["alertname=~Load.*"],
    &["host=a"],
    &["host!=a"],
    &["host!~a|b"],
    &["host=~a|b", "severity=warning"],
    &["LoadHigh", "host=b"],
    &["host="],
    &["host=\"\""],
    &["nothing=x"],
    &["bad matcher"],
    &["a=~("],
    &["quote=\"say \\\"x\\\"\""],
    &["--active"],
    &["--inhibited"],
    &["--silenced"],
    &["--unprocessed"],
    &["--active", "--inhibited"],
    &["--receiver=db"],
    &["--receiver=d.*"],
    &["--receiver=d"],
    &["--receiver=nobody"],
];

/// With the name that the silence has in this test.
const SILENCES: [(&str, &[&str]); 10] = [
    ("<works>", &["--author=ann", "--duration=2h", "--comment=works", "host=a"]),
    (
        "<regex>",
        &["--author=bob", "--duration=1d", "--comment=regex", "alertname=~Load.*", "host!=b"],
    ),
    ("<not>", &["--author=ann", "--comment=x", "DiskFull", "severity!~warning|info"]),
    ("<but-for>", &["--author=ann", "--comment=x", "rack!=r1"]),
    (
        "<later>",
        &[
            "--author=bob",
            "--start=2098-01-01T00:00:00Z",
            "--end=2098-01-02T00:00:00Z",
            "--comment=later",
            "team=night",
        ],
    ),
    ("", &["--author=ann", "host=c"]),
    ("", &["--author=ann", "--comment=x"]),
    ("", &["--author=ann", "--comment=x", "--duration=0s", "host=c"]),
    ("", &["--author=ann", "--comment=x", "host=~.*"]),
    (
        "",
        &[
            "--author=ann",
            "--comment=x",
            "--start=2020-01-01T00:00:00Z",
            "--end=2020-01-02T00:00:00Z",
            "a=b",
        ],
    ),
];

const SILENCE_QUERIES: [&[&str]; 17] = [
    &[],
    &["host=a"],
    &["host=b"],
    &["host!=a"],
    &["host!=b"],
    &["host!~b"],
    &["host=~.*"],
    &["alertname=~Load.*"],
    &["DiskFull"],
    &["severity!~warning|info"],
    &["team!=db"],
    &["rack!=r1"],
    &["--created-by=ann"],
    &["--within=3h"],
    &["--expired"],
    &["--within=3h", "--expired"],
    &["--quiet"],
];

const CONFIGURATION: [&[&str]; 9] = [
    &["config", "routes", "show"],
    &["config", "routes"],
    &["config", "routes", "test", "team=db", "severity=critical"],
    &["config", "routes", "test", "team=web"],
    &["config", "routes", "test", "--tree", "team=db"],
    &["config", "routes", "test", "--verify.receivers=db,pages", "team=db", "severity=page"],
    &["config", "routes", "test", "--verify.receivers=db", "team=web"],
    &["cluster", "show"],
    &["cluster", "show", "--output=extended"],
];

/// A server that amtool drives.
struct Served {
    url: String,
    /// What it calls the silences of this test.
    silences: BTreeMap<String, String>,
}

/// What amtool did: whether it went well, and what it printed.
#[derive(Debug, PartialEq)]
struct Did {
    is_fine: bool,
    printed: Vec<String>,
}

impl Served {
    fn new(url: String) -> Self {
        Self { url, silences: BTreeMap::new() }
    }

    fn amtool(&self, amtool: &Path, args: &[&str]) -> (bool, String, String) {
        let silences = self.silences.iter();
        let named = |arg: &&str| {
            silences.clone().fold((*arg).to_owned(), |arg, (id, name)| arg.replace(name, id))
        };
        let output = Command::new(amtool)
            .args(["--no-version-check", "--alertmanager.url", &self.url])
            .args(args.iter().map(named))
            .envs([("HOME", "/nonexistent"), ("USER", "root")])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// What amtool did, without what differs from run to run; in any order, as neither promises one.
    fn does(&self, amtool: &Path, args: &[&str]) -> Did {
        let (is_fine, printed, _) = self.amtool(amtool, args);
        let printed = self.named(&printed);
        let is_moment = |word: &&str| {
            word.as_bytes().iter().take(2).all(u8::is_ascii_digit)
                && (word.matches('-').count() == 2 || word.matches(':').count() == 2)
        };
        let words = |line: &str| {
            let words = line.split_whitespace().filter(|word| !is_moment(word));
            words.collect::<Vec<_>>().join(" ")
        };
        let mut printed: Vec<String> = printed.lines().map(words).collect();
        printed.sort();
        Did { is_fine, printed }
    }

    fn named(&self, text: &str) -> String {
        self.silences.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
    }

    async fn get(&self, http: &Client, path: &str) -> Value {
        let answer = get_json(http, &format!("{}{path}", self.url)).await.expect("it answers");
        let mut answer = serde_json::from_str(&self.named(&answer.to_string())).unwrap();
        only_common(&mut answer);
        answer
    }
}

/// Takes out what Debian's 0.25 does not have yet, what is written when it is empty, and what changes from run to run.
fn only_common(value: &mut Value) {
    match value {
        Value::Array(all) => {
            all.iter_mut().for_each(only_common);
            all.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => {
            let passing =
                ["updatedAt", "startsAt", "endsAt", "fingerprint", "inhibitedBy", "mutedBy"];
            fields.retain(|name, value| {
                !(passing.contains(&name.as_str()) || name == "generatorURL" && value == "")
            });
            fields.values_mut().for_each(only_common);
        }
        _ => {}
    }
}

/// Both, with the same file.
struct World {
    amtool: PathBuf,
    ours: Served,
    theirs: Served,
    http: Client,
    file: String,
    _running: (Alarm, Process, TempDir),
}

impl World {
    async fn start() -> Option<Self> {
        let (amtool, alertmanager) = (program("amtool")?, program("prometheus-alertmanager")?);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        fs::write(&file, CONFIG).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let settings = format!("alertmanager_config = {file:?}\n");
        let alarm = Alarm::start(&folder.path().join("ours"), "info", &settings, "").await;
        let theirs = format!("http://127.0.0.1:{}", free_port());
        let args = [
            format!("--config.file={file}"),
            format!("--storage.path={}", folder.path().join("theirs").display()),
            format!("--web.listen-address={}", theirs.trim_start_matches("http://")),
            "--cluster.listen-address=".to_owned(),
        ];
        let running = Process::start(&alertmanager, args);
        let http = daemon::http_client().unwrap();
        eventually("Alertmanager is ready", SOON, async || {
            get_text(&http, &format!("{theirs}/-/ready")).await
        })
        .await;
        let (ours, theirs) = (Served::new(alarm.url.clone()), Served::new(theirs));
        Some(Self { amtool, ours, theirs, http, file, _running: (alarm, running, folder) })
    }

    /// The same at both, once both have settled.
    async fn agree(&self, args: &[&str]) {
        let what = format!("amtool {args:?}");
        eventually(&what, SOON, async || {
            let both = [&self.ours, &self.theirs].map(|one| one.does(&self.amtool, args));
            let agree = both[0] == both[1];
            agree.then_some(()).or_else(|| {
                eprintln!("{what}\n ours   {:?}\n theirs {:?}", both[0], both[1]);
                None
            })
        })
        .await;
    }

    async fn answer_alike(&self, path: &str) {
        eventually(path, SOON, async || {
            let ours = self.ours.get(&self.http, path).await;
            let theirs = self.theirs.get(&self.http, path).await;
            (ours == theirs).then_some(()).or_else(|| {
                eprintln!("{path}\n ours   {ours}\n theirs {theirs}");
                None
            })
        })
        .await;
    }

    /// Does something once at each; what changes a state must not be tried again.
    fn once(&self, args: &[&str]) {
        let both = [&self.ours, &self.theirs].map(|one| one.does(&self.amtool, args));
        assert_eq!(both[0], both[1], "amtool {args:?}");
    }

    fn silence(&mut self, name: &str, args: &[&str]) {
        let args = [&["silence", "add"], args].concat();
        let fine = [&mut self.ours, &mut self.theirs].map(|one| {
            let (is_fine, id, _) = one.amtool(&self.amtool, &args);
            if is_fine {
                one.silences.insert(id.trim().to_owned(), name.to_owned());
            }
            is_fine
        });
        assert_eq!(fine, [!name.is_empty(); 2], "{args:?}");
    }

    async fn silences_agree(&self) {
        for query in SILENCE_QUERIES {
            for output in ["--output=simple", "--output=extended"] {
                self.agree(&[&["silence", "query", output], query].concat()).await;
            }
        }
        self.answer_alike("/api/v2/silences").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn amtool_says_of_alarm_what_it_says_of_alertmanager() {
    let Some(mut world) = World::start().await else { return };
    for alert in ALERTS {
        world.once(&[&["alert", "add"], alert].concat());
    }
    for query in ALERT_QUERIES {
        for output in ["--output=simple", "--output=extended"] {
            world.agree(&[&["alert", "query", output], query].concat()).await;
        }
    }
    for query in ["", "?active=false", "?inhibited=false", "?receiver=db", "?filter=team%3Ddb"] {
        world.answer_alike(&format!("/api/v2/alerts{query}")).await;
        world.answer_alike(&format!("/api/v2/alerts/groups{query}")).await;
    }
    for args in CONFIGURATION {
        world.agree(args).await;
    }
    world.agree(&["check-config", &world.file]).await;
    for (name, args) in SILENCES {
        world.silence(name, args);
    }
    world.silences_agree().await;
    for query in [&[][..], &["--silenced"], &["--active"]] {
        world.agree(&[&["alert", "query"], query].concat()).await;
    }
    // In place while nothing that was is changed.
    world.once(&["silence", "update", "--duration=4h", "<works>"]);
    world.once(&["silence", "update", "--comment=other words", "<regex>"]);
    world.once(&["silence", "update", "--end=2098-01-03T00:00:00Z", "<later>"]);
    world.once(&["silence", "update", "--duration=1h"]);
    world.silences_agree().await;
    world.once(&["silence", "expire", "<works>", "<not>"]);
    world.once(&["silence", "expire", "<works>"]);
    world.once(&["silence", "expire", "00000000-0000-4000-8000-000000000000"]);
    world.once(&["silence", "expire"]);
    world.silences_agree().await;
    world.agree(&["alert", "query", "--silenced"]).await;
}

/// Trees of routes, each another for another number, and the same for the same (SplitMix64).
struct Trees(u64);

impl Trees {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let at = self.below(of.len() as u64);
        of[usize::try_from(at).unwrap()]
    }

    /// Conditions of all three kinds, alone and together.
    fn conditions(&mut self) -> String {
        let mut text = String::new();
        let kinds = self.below(8);
        if kinds & 1 == 0 {
            let first = self.one_of(&[
                "a=x",
                "a!=x",
                "b=~\"x|y\"",
                "b!~x",
                "c=\"\"",
                "c!=\"\"",
                "group_by=x",
            ]);
            let second = self.one_of(&["a=~\".*\"", "a=~\".+\"", "b=y"]);
            text.push_str(&format!("matchers: ['{first}', '{second}'], "));
        }
        if kinds & 2 != 0 {
            let (label, value) = (self.one_of(&["a", "b", "c"]), self.one_of(&["x", "y", "''"]));
            text.push_str(&format!("match: {{{label}: {value}}}, "));
        }
        if kinds & 4 != 0 {
            let (label, value) =
                (self.one_of(&["a", "b", "c"]), self.one_of(&["x|y", "x.*", "'.*'", "[^x]"]));
            text.push_str(&format!("match_re: {{{label}: '{}'}}, ", value.trim_matches('\'')));
        }
        text
    }

    fn route(&mut self, depth: u64) -> String {
        let mut text = format!("{{{}", self.conditions());
        if self.below(3) > 0 {
            text.push_str(&format!("receiver: {}, ", self.one_of(&["r1", "r2", "r3", "r4"])));
        }
        text.push_str(&format!("continue: {}, ", self.below(2) == 0));
        let children = if depth == 0 { 0 } else { self.below(4) };
        let children: Vec<String> = (0..children).map(|_| self.route(depth - 1)).collect();
        text + &format!("routes: [{}]}}", children.join(", "))
    }

    fn file(&mut self) -> String {
        let children: Vec<String> = (0..4).map(|_| self.route(2)).collect();
        format!(
            "route: {{receiver: r0, routes: [{}]}}\n\
             receivers: [{{name: r0}}, {{name: r1}}, {{name: r2}}, {{name: r3}}, {{name: r4}}]\n",
            children.join(", ")
        )
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([("alertname".to_owned(), "Any".to_owned())]);
        for name in ["a", "b", "c", "group_by"] {
            let value = self.one_of(&["", "x", "y", "xy"]);
            if !value.is_empty() {
                labels.insert(name.to_owned(), value.to_owned());
            }
        }
        labels
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_tree_of_routes_alarm_goes_the_ways_that_alertmanager_goes() {
    let Some(world) = World::start().await else { return };
    let (mut trees, mut differed) = (Trees(7), 0);
    for _ in 0..24 {
        let text = trees.file();
        fs::write(&world.file, &text).unwrap();
        let reload = world.http.post(format!("{}/-/reload", world.ours.url)).send().await.unwrap();
        assert_eq!(reload.status(), 200, "{text}");
        for _ in 0..6 {
            let labels = trees.labels();
            let pairs: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let theirs = Command::new(&world.amtool)
                .args(["config", "routes", "test", "--config.file", &world.file])
                .args(&pairs)
                .env("HOME", "/nonexistent")
                .output()
                .unwrap();
            let theirs = String::from_utf8(theirs.stdout).unwrap();
            let ask = world.http.post(format!("{}/api/v1/routing/preview", world.ours.url));
            let ours = ask.json(&serde_json::json!({ "labels": labels })).send().await.unwrap();
            let ours: Value = ours.json().await.unwrap();
            let ways = ours["ways"].as_array().unwrap().iter();
            let ours: Vec<&str> = ways.map(|way| way["receiver"].as_str().unwrap()).collect();
            assert_eq!(ours.join(","), theirs.trim(), "{pairs:?} by {text}");
            differed += usize::from(theirs.trim() != "r0");
        }
    }
    assert!(differed > 50, "the trees do something: {differed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_move_from_alertmanager_to_alarm_and_back_with_amtool() {
    let Some(mut world) = World::start().await else { return };
    for (name, args) in SILENCES.into_iter().filter(|(name, _)| !name.is_empty()) {
        world.silence(name, args);
    }
    let (ours, theirs, amtool) = (&world.ours, &world.theirs, &world.amtool);
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [(theirs, ours), (ours, theirs)] {
        let exported = from.amtool(amtool, &["silence", "query", "--output=json"]).1;
        let file = folder.path().join("silences.json");
        fs::write(&file, &exported).unwrap();
        let before = listed(&world.http, to).await;
        let args = ["silence", "import", "--force", file.to_str().unwrap()];
        let (is_fine, added, fault) = to.amtool(amtool, &args);
        assert!(is_fine, "{fault}");
        let exported: Vec<Value> = serde_json::from_str(&exported).unwrap();
        assert_eq!(added.lines().count(), exported.len(), "{added}");
        assert_eq!(listed(&world.http, to).await, before + exported.len());
    }
}

async fn listed(http: &Client, at: &Served) -> usize {
    at.get(http, "/api/v2/silences?expired=false").await.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_real_vmalert_are_told_when_they_begin_and_when_they_end() {
    let (Some(vmalert), Some(store)) = (program("vmalert"), program("victoria-metrics")) else {
        return;
    };
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, Duration::ZERO).await;
    let folder = tempfile::tempdir().unwrap();
    let hook = format!(
        "[[alarm.receivers]]\nname = \"hook\"\nwebhook_url = \"{}/hook\"\n",
        platforms.url()
    );
    let alarm = Alarm::start(folder.path(), "info", &hook, "").await;
    let (data, rules) = (folder.path().join("vm"), folder.path().join("rules.yml"));
    let text = "groups:\n- name: vm\n  interval: 1s\n  rules:\n  - alert: Burns\n    expr: heat > 1\n    \
                labels: {severity: critical}\n    annotations: {summary: '{{ $value }} is too hot'}\n";
    fs::write(&rules, text).unwrap();
    let (metrics, own) = (free_port(), free_port());
    let _store = Process::start(
        &store,
        [
            format!("-storageDataPath={}", data.display()),
            format!("-httpListenAddr=127.0.0.1:{metrics}"),
            // What was just pushed is asked for at once.
            "-search.latencyOffset=1ms".to_owned(),
        ],
    );
    let _running = Process::start(
        &vmalert,
        [
            format!("-rule={}", rules.display()),
            format!("-datasource.url=http://127.0.0.1:{metrics}"),
            format!("-notifier.url={}", alarm.url),
            format!("-httpListenAddr=127.0.0.1:{own}"),
            "-evaluationInterval=1s".to_owned(),
        ],
    );
    let store = format!("http://127.0.0.1:{metrics}/api/v1/import/prometheus");
    let told = async |status: &str, heat: u32| {
        eventually(&format!("Burns is {status}"), SOON, async || {
            let sample = alarm.http.post(&store).body(format!("heat{{room=\"a\"}} {heat}\n"));
            // Not before the store is up.
            let _ = sample.send().await;
            let bodies = platforms.taken().into_iter().map(|taken| taken.body);
            let mut alerts = bodies.filter_map(|body| body["alerts"].as_array().cloned()).flatten();
            alerts
                .find(|alert| alert["labels"]["alertname"] == "Burns" && alert["status"] == status)
        })
        .await
    };
    let begun = told("firing", 42).await;
    assert_eq!(begun["annotations"]["summary"], "42 is too hot");
    let ended = told("resolved", 0).await;
    assert_eq!((&ended["startsAt"], &ended["labels"]), (&begun["startsAt"], &begun["labels"]));
}
