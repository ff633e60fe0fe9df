//! A case for every sentence of what Prometheus does with alerts: the state machine, the restore after a
//! restart, and sending (`reference/alerting.md` 1.3, 1.4, 1.9). Where ours differs, the case says how and why.
//!
//! A script has a letter for every evaluation, a minute apart: `0` the sample of `up` is 0 and the condition
//! `up == 0` holds, `1` it does not hold (other digits
//! are values for other conditions), `-` the series is gone, `e` the query fails. Between evaluations: `r`
//! the judge is killed and another one restores its state, `m` the same and it takes five minutes, `h` an hour,
//! `s` the machine sleeps for an hour, `b` the clock is set back by an hour. After every evaluation stands the
//! state of the alert: `I`nactive, `P`ending, `F`iring, `K`ept by `keep_firing_for`, `R`esolved; and what was
//! sent: `f`iring, `r`esolved, `.` nothing. A `+` before a letter: its sample arrives between the slots, twenty
//! seconds after what was before.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use futures_util::FutureExt;
use model::{Labels, Sample, Series, Timestamp, stale_nan};
use storage::{Batch, Limits, Storage};
use tokio::runtime::Runtime;

use crate::alert_state::{HeldAlert, Phase};
use crate::api::{GroupList, RuleFilter};
use crate::arrival::Waiting;
use crate::backtest::{Past, Span};
use crate::board::Board;
use crate::config::Links;
use crate::eval::{Alone, Evaluator};
use crate::group::{GroupRun, Health};
use crate::metrics::Metrics;
use crate::outbox::{self, Outbox};
use crate::pass::Passes;
use crate::query;
use crate::rule_file::{Defaults, read_group};
use crate::rules::RuleGroup;
use crate::shard::Leave;
use crate::template::Surroundings;
use crate::told::News;
use crate::wave::{self, Concern};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
const LIMITS: outbox::Limits =
    outbox::Limits { resend_delay: MINUTE, alerts_max: 1000, batch_max: 256 };

/// A judge without its clock and its network.
pub(crate) struct Bench {
    storage: Storage,
    evaluator: Evaluator,
    pub(crate) run: GroupRun,
    outbox: Outbox,
    waiting: Waiting,
    pub(crate) now: Timestamp,
    fencing: u64,
    links: Links,
    _context: Context,
}

impl Bench {
    pub(crate) fn new(group: &str, settle_time: Duration) -> Self {
        let context = testkit::context_at(START);
        let storage = Storage::memory(Limits::default());
        let evaluator = Evaluator {
            reader: storage.reader(),
            writer: storage.writer(),
            query_timeout: Duration::from_secs(30),
            rules_max: 1,
            settle_time,
            surroundings: Surroundings::default(),
            metrics: Metrics::register(&context, &[], 1),
            // However slow the machine is: nothing is left to the next slot.
            alone: Alone { share: 0, time: MINUTE * 60 },
            passes: Passes::new(Metrics::default(), storage.arrivals()),
        };
        let group: RuleGroup =
            read_group("g", group, &Defaults::default()).expect("the rules are valid");
        let mut run = GroupRun::new(Arc::new(group));
        run.restore(None, Leave { fencing: 1, succeeded: None }, START)
            .expect("there is nothing to restore");
        let links = Links::Graphs("http://judge".to_owned());
        let outbox = Outbox::new(LIMITS);
        let waiting = Waiting::default();
        let (now, fencing) = (START, 1);
        Self { storage, evaluator, run, outbox, waiting, now, fencing, links, _context: context }
    }

    pub(crate) async fn push(&self, labels: &[(&str, &str)], value: f64) {
        self.push_all(vec![(Labels::from_pairs(labels.iter().copied()), value)]).await;
    }

    /// Stores a sample of now for each series.
    pub(crate) async fn push_all(&self, values: Vec<(Labels, f64)>) {
        let series = values.into_iter().map(|(labels, value)| {
            let samples = vec![Sample { timestamp: self.now, value }];
            Series { labels, samples }
        });
        let batch = Batch { series: series.collect(), metadata: Vec::new() };
        self.storage.writer().write(batch).await.expect("memory takes it");
    }

    /// Evaluates as the judge's slot does, and sends; answers what was sent.
    pub(crate) async fn evaluate(&mut self) -> Vec<model::Alert> {
        self.evaluator.evaluate(&mut self.run, self.now).await;
        self.run.forget(self.now, |_| false);
        self.send()
    }

    /// What is stored, for a backtest of the slots between two moments, a minute apart.
    pub(crate) fn past(&self, from: Timestamp, to: Timestamp) -> Past<'_> {
        let query_offset = self.run.group.query_offset;
        self.evaluator.past(Span { from, to, interval: MINUTE, query_offset })
    }

    /// Looks at what was pushed since the last look as the judge does between its slots, and sends.
    pub(crate) async fn look(&mut self) -> Vec<model::Alert> {
        let arrivals = self.storage.arrivals();
        if let Some(arrived) = arrivals.next().now_or_never() {
            self.waiting.add(&self.evaluator.passes.touched(&arrived), self.now);
        }
        while let Some((wave, parts)) = self.waiting.next_wave(self.now) {
            let answered = self.evaluator.ask(Arc::clone(&wave), &parts).await;
            let (mut visited, mut alone) = (Vec::new(), BTreeSet::new());
            answered.each_rule(|listener, _, part| {
                match wave::concern(&self.run, listener, part, &wave) {
                    Concern::None => {}
                    Concern::Part(part) => visited.push((listener.rule, part)),
                    Concern::Alone => drop(alone.insert(listener.rule)),
                }
            });
            self.evaluator.visit(&mut self.run, visited, &wave).await;
            self.evaluator.look(&mut self.run, &alone, &wave).await;
        }
        self.send()
    }

    fn send(&mut self) -> Vec<model::Alert> {
        if self.run.document(self.now, self.fencing).is_some() {
            self.run.note_saved(self.now, self.fencing);
        }
        let told = self.run.told(self.now, &Labels::empty(), &self.links);
        self.outbox.publish(&Arc::from("db;g"), &told, self.now);
        let batch = self.outbox.batch(self.now);
        self.outbox.delivered(&batch, self.now);
        batch.iter().map(|(_, told, ends_at)| told.alert(*ends_at)).collect()
    }

    /// Another judge goes on with what was stored.
    fn restart(&mut self, away: Duration) {
        self.run.is_dirty = true;
        let saved = self.now;
        let document = self.run.document(saved, self.fencing).expect("it is dirty");
        let group = self.run.group.clone();
        self.now = self.now.plus(away);
        self.fencing += 1;
        self.run = GroupRun::new(group);
        let leave = Leave { fencing: self.fencing, succeeded: None };
        self.run.restore(Some(&document), leave, self.now).expect("just written");
        self.outbox = Outbox::new(LIMITS);
    }

    /// Runs a script; answers the states and what was sent.
    pub(crate) async fn script(&mut self, script: &str) -> (String, String) {
        let (mut states, mut sent) = (String::new(), String::new());
        let mut is_arrival = false;
        for letter in script.chars() {
            match letter {
                '+' => is_arrival = true,
                'r' => self.restart(Duration::ZERO),
                'm' => self.restart(MINUTE * 5),
                'h' => self.restart(MINUTE * 60),
                's' => self.now = self.now.plus(MINUTE * 60),
                'b' => self.now = self.now.minus(MINUTE * 60),
                _ => {
                    let left = match std::mem::take(&mut is_arrival) {
                        true => self.arrival(letter).await,
                        false => self.minute(letter).await,
                    };
                    states.push(self.letter());
                    let letter = |alert: &model::Alert| {
                        if alert.is_resolved_at(self.now) { 'r' } else { 'f' }
                    };
                    sent.push(left.first().map_or('.', letter));
                }
            }
        }
        (states, sent)
    }

    async fn arrival(&mut self, letter: char) -> Vec<model::Alert> {
        self.now = self.now.plus(MINUTE / 3);
        self.push(&[("__name__", "up"), ("endpoint", "a")], value_of(letter)).await;
        self.look().await
    }

    pub(crate) async fn minute(&mut self, letter: char) -> Vec<model::Alert> {
        self.now = self.now.plus(MINUTE);
        self.push(&[("__name__", "up"), ("endpoint", "a")], value_of(letter)).await;
        let timeout = self.evaluator.query_timeout;
        if letter == 'e' {
            self.evaluator.query_timeout = Duration::ZERO;
        }
        let left = self.evaluate().await;
        self.evaluator.query_timeout = timeout;
        left
    }

    /// The value of an expression without labels in its result, now.
    async fn value(&self, expr: &str) -> Option<f64> {
        let expr = promql::parse(expr).expect("it is PromQL");
        let timeout = Duration::from_secs(60);
        let vector = query::vector(&self.evaluator.reader, &expr, self.now, timeout).await;
        vector.expect("memory answers").first().map(|(_, value)| *value)
    }

    /// What `/api/v1/rules` says of the first rule: its state, its health, its error.
    fn told_of_rule(&self) -> [String; 3] {
        let board = Board::default();
        board.put(&self.run);
        let views = board.groups();
        let list = GroupList::new(&views, &RuleFilter::default()).expect("no filter");
        let list = serde_json::to_value(&list).expect("it has a JSON form");
        let rule = &list["groups"][0]["rules"][0];
        ["state", "health", "lastError"].map(|key| rule[key].as_str().unwrap_or("").to_owned())
    }

    fn held(&self) -> Option<&HeldAlert> {
        self.run.rules[0].alerts.values().next()
    }

    fn letter(&self) -> char {
        match self.held().map(|alert| alert.phase) {
            None => 'I',
            Some(Phase::Pending { .. }) => 'P',
            Some(Phase::Firing { .. }) => 'F',
            Some(Phase::Kept { .. }) => 'K',
            Some(Phase::Resolved { .. }) => 'R',
        }
    }
}

/// Runs a case of a property. One runtime for all of them: evaluations have threads of their own, which would be made
/// anew for each of thousands of cases.
pub(crate) fn block_on<T>(case: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Mutex<Runtime>> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Mutex::new(runtime.expect("a runtime can be built"))
    });
    RUNTIME.lock().unwrap_or_else(PoisonError::into_inner).block_on(case)
}

fn value_of(letter: char) -> f64 {
    match letter {
        '-' => stale_nan(),
        _ => f64::from(letter.to_digit(10).unwrap_or(0)),
    }
}

/// A sentence with the fields of the rule, a script and the states after each evaluation.
type Case = (&'static str, &'static str, &'static str, &'static str);

async fn check(cases: &[Case]) {
    for (sentence, fields, script, states) in cases {
        let rule = format!("rules: [{{alert: Down, expr: up == 0, {fields}}}]");
        let mut bench = Bench::new(&rule, Duration::ZERO);
        assert_eq!(bench.script(script).await.0, *states, "{sentence}\n{fields}: {script}");
    }
}

#[tokio::test]
async fn section_1_3_states() {
    check(&[
        ("On any error no state change", "for: 1m", "0e0eee1e", "PPFFFFRR"),
        ("Unknown: new object, pending, ActiveAt=ts", "for: 2m", "1000", "IPPF"),
        ("Known but resolved: new object, pending", "for: 1m", "00100", "PFRPF"),
        ("Absent, pending -> deleted", "for: 5m", "0001", "PPPI"),
        ("Absent, firing -> inactive", "", "01", "FR"),
        ("Inactive for more than 15 min -> deleted", "", "0111111111111111111", "FRRRRRRRRRRRRRRRRII"),
        ("keep_firing_for: KeepFiringSince is set once, firing while ts - since < keep_firing_for",
         "keep_firing_for: 3m", "011111", "FKKKRR"),
        ("present: KeepFiringSince cleared", "keep_firing_for: 2m", "0101111", "FKFKKRR"),
        ("pending and ts-ActiveAt >= for -> firing", "for: 3m", "00000", "PPPFF"),
        ("for: 0 fires on the first evaluation", "for: 0s", "0", "F"),
        ("A series that is gone is absent, and absence is the end", "for: 1m", "00-", "PFR"),
    ]).await;
}

#[tokio::test]
async fn section_1_3_a_raised_hold_sends_a_firing_alert_back_to_pending() {
    // "Firing but ts-ActiveAt < for (someone raised for on reload) -> back to pending"
    let rule = |hold: &str| format!("rules: [{{alert: Down, expr: up == 0, for: {hold}}}]");
    let mut bench = Bench::new(&rule("1m"), Duration::ZERO);
    assert_eq!(bench.script("00").await.0, "PF");
    let raised = read_group("g", &rule("5m"), &Defaults::default()).unwrap();
    bench.run.adopt(Arc::new(raised), bench.now);
    // "FiredAt/LastSentAt cleared": it is not told while it waits, and then at once with a new start.
    assert_eq!(bench.script("000").await, ("PPP".to_owned(), "...".to_owned()));
    let again = bench.minute('0').await;
    assert_eq!((again[0].starts_at, bench.letter()), (bench.now, 'F'));
    // "KeepFiringSince cleared".
    let rule = |hold: &str| {
        let text =
            format!("rules: [{{alert: Down, expr: up == 0, for: {hold}, keep_firing_for: 9m}}]");
        read_group("g", &text, &Defaults::default()).unwrap()
    };
    let mut bench = Bench::new("rules: []", Duration::ZERO);
    bench.run.adopt(Arc::new(rule("1m")), bench.now);
    assert_eq!(bench.script("001").await.0, "PFK");
    bench.run.adopt(Arc::new(rule("20m")), bench.now);
    assert_eq!(bench.script("01").await.0, "PI", "what waits ends at once when it is absent");
}

#[tokio::test]
async fn section_1_3_results() {
    // "Scalar result is turned into one label-less sample."
    let mut bench = Bench::new("rules: [{alert: Always, expr: '1'}]", Duration::ZERO);
    let sent = bench.evaluate().await;
    assert_eq!(sent[0].labels, Labels::from_pairs([("alertname", "Always")]));
    // "Other types: error. On any error: health=err, lastError set, nothing written, nothing sent". Ours
    // repeats what fires for an hour instead of sending nothing, so that a failing store is not taken for an
    // end by whoever waits for repetition.
    for expr in ["up[5m]", "'text'"] {
        let rules = format!("rules: [{{alert: A, expr: {expr:?}}}]");
        let mut bench = Bench::new(&rules, Duration::ZERO);
        assert!(bench.evaluate().await.is_empty());
        let Health::Failed(reason) = &bench.run.rules[0].health else {
            panic!("it failed: {expr}")
        };
        assert!(reason.contains("a rule needs an instant vector"), "{reason}");
        assert!(bench.run.rules[0].series.is_empty());
    }
    let mut bench = Bench::new("rules: [{alert: Down, expr: up == 0}]", Duration::ZERO);
    assert_eq!(bench.script("0eee").await.1, "ffff", "repeated each minute");
    assert_eq!(bench.script(&"e".repeat(70)).await.1.matches('f').count(), 57, "for an hour");
}

#[tokio::test]
async fn section_1_3_an_error_writes_nothing() {
    // "On any error: nothing written": neither samples nor staleness markers.
    let mut bench = Bench::new("rules: [{alert: Down, expr: up == 0}]", Duration::ZERO);
    bench.script("00ee").await;
    let written = "sum(count_over_time(ALERTS[1h]))";
    assert_eq!(bench.value(written).await, Some(2.0));
    assert_eq!(bench.value("sum(ALERTS)").await, Some(1.0), "no marker");
    bench.script("0").await;
    assert_eq!(bench.value(written).await, Some(3.0));
}

#[tokio::test]
async fn section_1_3_states_of_rules() {
    // "Rule state reported = max over alerts: firing > pending > inactive; unknown before the first evaluation.
    // Health: unknown / ok / err. lastError set."
    let mut bench = Bench::new("rules: [{alert: Down, expr: up == 0, for: 1m}]", Duration::ZERO);
    assert_eq!(bench.told_of_rule(), ["unknown", "unknown", ""]);
    bench.script("1").await;
    assert_eq!(bench.told_of_rule(), ["inactive", "ok", ""]);
    bench.script("0").await;
    assert_eq!(bench.told_of_rule(), ["pending", "ok", ""]);
    bench.push(&[("__name__", "up"), ("endpoint", "b")], 0.0).await;
    bench.script("0").await;
    let words: Vec<_> = bench.run.rules[0].alerts.values().map(|a| a.phase.as_str()).collect();
    assert_eq!(words, ["firing", "pending"], "the second one began a minute later");
    assert_eq!(bench.told_of_rule(), ["firing", "ok", ""]);
    bench.script("e").await;
    let [state, health, error] = bench.told_of_rule();
    assert_eq!((state.as_str(), health.as_str()), ("firing", "err"));
    assert!(error.contains("timed out"), "{error}");
}

#[tokio::test]
async fn section_1_3_labels_and_annotations() {
    // "labels = sample labels without __name__, then rule labels (templated; an empty result removes the label),
    // then alertname. Template data uses the query result's labels only, before rule labels are applied.
    // Annotations are templated. A failing template does not fail the rule."
    let rule = "rules: [{alert: Down, expr: up == 0, labels: {team: 'of {{ $labels.endpoint }}', \
                endpoint: '{{ if false }}x{{ end }}'}, annotations: {was: '{{ $labels.team }}|{{ $value }}', \
                bad: '{{ humanize $labels.endpoint }}'}}]";
    let mut bench = Bench::new(rule, Duration::ZERO);
    let sent = bench.minute('0').await;
    assert_eq!(sent[0].labels, Labels::from_pairs([("alertname", "Down"), ("team", "of a")]));
    assert_eq!(sent[0].annotations["was"], "|0");
    assert!(sent[0].annotations["bad"].starts_with("<error expanding template"), "{sent:?}");
    // "Known alert not inactive: refresh value and annotations only."
    let rule = "rules: [{alert: Low, expr: up < 2, annotations: {is: '{{ $value }}'}}]";
    let mut bench = Bench::new(rule, Duration::ZERO);
    let first = bench.minute('0').await.remove(0);
    let second = bench.minute('1').await.remove(0);
    assert_eq!((first.annotations["is"].as_str(), second.annotations["is"].as_str()), ("0", "1"));
    assert_eq!(first.starts_at, second.starts_at);
}

#[tokio::test]
async fn section_1_3_refusals() {
    // "Two samples giving equal label sets: whole rule fails."
    let rule = "rules: [{alert: Down, expr: up == 0, labels: {endpoint: ''}}]";
    let mut bench = Bench::new(rule, Duration::ZERO);
    assert_eq!(bench.script("0").await.0, "F");
    bench.push(&[("__name__", "up"), ("endpoint", "b")], 0.0).await;
    assert_eq!(bench.script("0").await.0, "F", "what fires stays");
    assert!(
        matches!(&bench.run.rules[0].health, Health::Failed(why) if why.contains("the same alert"))
    );
    // "Count of pending+firing > limit: rule error and all its alerts are forgotten (no resolved is sent, no
    // stale markers are written)." Ours fails the rule and forgets nothing: forgotten alerts would end at the
    // receiver when their lease is over, while they last.
    let mut bench = Bench::new("{limit: 1, rules: [{alert: Down, expr: up == 0}]}", Duration::ZERO);
    assert_eq!(bench.script("0").await, ("F".to_owned(), "f".to_owned()));
    for _ in 0..3 {
        bench.now = bench.now.plus(MINUTE);
        bench.push(&[("__name__", "up"), ("endpoint", "a")], 0.0).await;
        bench.push(&[("__name__", "up"), ("endpoint", "b")], 0.0).await;
        assert_eq!(bench.evaluate().await.len(), 1, "the alert from before is repeated");
    }
    assert!(
        matches!(&bench.run.rules[0].health, Health::Failed(why) if why.contains("limit of 1"))
    );
}

#[tokio::test]
async fn section_1_3_synthetic_series() {
    // "Synthetic series per pending or firing alert: ALERTS{alertname,alertstate,<labels>} 1 and
    // ALERTS_FOR_STATE{alertname,<labels>} = ActiveAt as unix seconds. A pending->firing step makes the pending
    // series stale. Not emitted until the restore phase is over." Ours has no such phase: the state is there
    // before the first evaluation.
    let rules = "rules: [{alert: Down, expr: up == 0, for: 1m}, \
                 {alert: Seen, expr: 'ALERTS{alertname=\"Down\"} == 1'}, \
                 {alert: Since, expr: 'ALERTS_FOR_STATE{alertname=\"Down\"} > 0'}]";
    let mut bench = Bench::new(rules, Duration::ZERO);
    let states = |bench: &Bench| {
        let firing = bench.run.rules[1].alerts.iter().filter(|(_, alert)| alert.phase.is_firing());
        firing
            .filter_map(|(labels, _)| labels.get("alertstate"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    bench.minute('0').await;
    assert_eq!(states(&bench), ["pending"]);
    bench.minute('0').await;
    assert_eq!(states(&bench), ["firing"]);
    let since = bench.run.rules[2].alerts.values().next().expect("the series is there").value;
    assert_eq!(since, START.plus(MINUTE).seconds_f64());
    bench.script("r0").await;
    assert_eq!(states(&bench), ["firing"]);
}

#[tokio::test]
async fn section_1_4_restore() {
    check(&[
        ("Rules with for < grace period just wait for. Ours goes on where it was after a short restart",
         "for: 3m", "00r00", "PPPF"),
        ("remaining <= 0 (was firing): fires again on the next evaluation. Ours never stopped",
         "for: 3m", "0000h0", "PPPFF"),
        ("0 < remaining < grace: fires after the grace period. Ours: after the rest of the hold, as seen",
         "for: 12m", "00000h000000000", "PPPPPPPPPPPPFF"),
        ("else downtime does not count", "for: 30m", "0000h00000", "PPPPPPPPP"),
        ("Not persisted: keep_firing_for state. Ours is", "keep_firing_for: 3m", "01r1111", "FKKKRR"),
        ("Not persisted: resolved alerts. Ours are", "", "01r1", "FRR"),
        ("only alerts active now are restored", "for: 3m", "00m1", "PPI"),
        ("outage tolerance 1h. Ours restores whatever the age", "for: 1m", "00hhhhhh0", "PFF"),
        ("last point a stale marker: skip. Ours has nothing stored of it", "for: 3m", "001r000", "PPIPPP"),
    ]).await;
    // "Not persisted: annotations." Ours are, for the message of the end.
    let rule = "rules: [{alert: Down, expr: up == 0, annotations: {of: '{{ $labels.endpoint }}'}}]";
    let mut bench = Bench::new(rule, Duration::ZERO);
    bench.script("0r").await;
    let ended = bench.minute('1').await.remove(0);
    assert_eq!((ended.ends_at, ended.annotations["of"].as_str()), (bench.now, "a"));
}

#[tokio::test]
async fn section_1_4_absence_right_after_a_restart_is_no_end() {
    // "Only alerts active now are restored": where senders are still delivering what they kept, absence right
    // after a restart proves nothing, so ours waits for settle_time.
    let mut bench = Bench::new("rules: [{alert: Down, expr: up == 0}]", MINUTE * 3);
    assert_eq!(bench.script("0h---0").await, ("FFFFF".to_owned(), "fffff".to_owned()));
    assert_eq!(bench.script("h-----").await.0, "FFFRR", "in the end it counts");
}

#[tokio::test]
async fn section_1_9_sending() {
    // Sentence, fields of the rule, script, what is sent after each evaluation.
    for (sentence, fields, script, sent) in [
        ("pending never sent", "for: 2m", "000", "..f"),
        ("Pending that ends is never sent", "for: 5m", "0001", "...."),
        ("sent if resolved since last send", "", "01", "fr"),
        // Prometheus waits for the first slot strictly after the resend delay, the compliance text allows the
        // delay itself; ours sends when the delay is over.
        ("else if lastSent + resendDelay is over", "", "0000", "ffff"),
        (
            "Resolved alerts are re-sent on the same rhythm for 15 min",
            "",
            "0111111111111111111",
            "frrrrrrrrrrrrrrrr..",
        ),
        ("An alert that returns is sent as firing at once", "", "010", "frf"),
    ] {
        let rule = format!("rules: [{{alert: Down, expr: up == 0, {fields}}}]");
        let mut bench = Bench::new(&rule, Duration::ZERO);
        assert_eq!(bench.script(script).await.1, sent, "{sentence}\n{fields}: {script}");
    }
}

#[tokio::test]
async fn section_1_9_times_and_links() {
    // "startsAt = FiredAt (not ActiveAt); endsAt = ResolvedAt, or for firing ts + 4*max(interval, resendDelay);
    // generatorURL = external URL + /graph?g0.expr=<escaped>&g0.tab=1."
    let group = "{interval: 2m, rules: [{alert: Down, expr: up == 0, for: 2m}]}";
    let mut bench = Bench::new(group, Duration::ZERO);
    bench.script("00").await;
    let fired = bench.minute('0').await.remove(0);
    assert_eq!(fired.starts_at, START.plus(MINUTE * 3));
    assert_eq!(fired.ends_at, bench.now.plus(MINUTE * 8));
    assert_eq!(fired.generator_url, "http://judge/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    let ended = bench.minute('1').await.remove(0);
    assert_eq!((ended.starts_at, ended.ends_at), (fired.starts_at, bench.now));
}

#[tokio::test]
async fn the_machine_slept_or_the_clock_was_set() {
    check(&[
        ("Time in which nobody looked does not count", "for: 5m", "00s00000", "PPPPPPF"),
        ("What fires fires on", "for: 1m", "00s0", "PFF"),
        (
            "A clock set back does not make a pending alert wait for it to catch up",
            "for: 2m",
            "00b000",
            "PPPPF",
        ),
        ("What fires fires on, and ends when it ends", "", "0b01", "FFR"),
        (
            "keep_firing_for is not longer for a clock set back",
            "keep_firing_for: 2m",
            "01b111",
            "FKKKR",
        ),
    ])
    .await;
    let mut bench = Bench::new("rules: [{alert: Down, expr: up == 0}]", Duration::ZERO);
    bench.script("0b").await;
    let sent = bench.minute('0').await;
    assert!(
        sent.iter().all(|alert| alert.starts_at <= bench.now),
        "no start in the future: {sent:?}"
    );
    bench.script("1b").await;
    bench.minute('-').await;
    let told = bench.run.told(bench.now, &Labels::empty(), &bench.links);
    assert!(
        told.iter().all(|told| matches!(told.news, News::Resolved(at) if at <= bench.now)),
        "no end in the future: {told:?}"
    );
}
