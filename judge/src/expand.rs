//! The labels and annotations of the elements of a result: templates are rendered, what they ask by `query`
//! is asked, and they are rendered again with the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Labels, Timestamp};
use storage::Reader;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::plain_text;
use crate::query;
use crate::record::{self, Written};
use crate::rules::{Rule, RuleKind};
use crate::template::Template;
use crate::template_scene::Scene;

/// How often answers may lead to further questions.
const ROUNDS_MAX: usize = 4;
/// Different queries that the templates of one rule may ask in one evaluation.
const QUERIES_MAX: usize = 200;

/// The labels of an alert, which are its identity, and its annotations.
pub(crate) type Expanded = (Labels, BTreeMap<String, String>);

/// What the queries of templates may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// For all queries of one evaluation together.
    pub(crate) timeout: Duration,
}

/// The labels and annotations of each element, in order. Templates see the element as the query gave it,
/// before the rule's labels. A template that fails becomes a text that says so, and is counted.
pub(crate) async fn expand(
    rule: &Rule,
    elements: &[Written],
    scene: &Scene<'_>,
    reader: &Reader,
    budget: Budget,
    metrics: &Metrics,
) -> Vec<Expanded> {
    let deadline = Instant::now() + budget.timeout;
    let mut queries = 0;
    for round in 0..=ROUNDS_MAX {
        let rendered = render(rule, elements, scene);
        let open = scene.lookups.take_open();
        if open.is_empty() {
            metrics.template_expansions(rendered.expansions, rendered.failures);
            return rendered.elements;
        }
        for text in open {
            queries += 1;
            let answer = if round == ROUNDS_MAX {
                Err(format!("queries depend on each other more than {ROUNDS_MAX} deep"))
            } else if queries > QUERIES_MAX {
                Err(format!("the rule's templates ask more than {QUERIES_MAX} queries"))
            } else {
                ask(reader, &text, scene.at, deadline.saturating_duration_since(Instant::now()))
                    .await
            };
            scene.lookups.answer(text, answer);
        }
    }
    let rendered = render(rule, elements, scene);
    metrics.template_expansions(rendered.expansions, rendered.failures);
    rendered.elements
}

async fn ask(
    reader: &Reader,
    text: &str,
    at: Timestamp,
    left: Duration,
) -> Result<Vec<Written>, String> {
    let expr = promql::parse(text).map_err(|error| error.to_string())?;
    query::vector(reader, &expr, at, left).await.map_err(|error| format!("{error:#}"))
}

struct Rendered {
    elements: Vec<Expanded>,
    expansions: u64,
    failures: u64,
}

fn render(rule: &Rule, elements: &[Written], scene: &Scene<'_>) -> Rendered {
    let mut rendered =
        Rendered { elements: Vec::with_capacity(elements.len()), expansions: 0, failures: 0 };
    let annotations: &[(String, Template)] = match &rule.kind {
        RuleKind::Alerting { annotations, .. } => annotations,
        RuleKind::Recording => &[],
    };
    for (element, value) in elements {
        let visible = element.without_metric_name();
        let mut text = |template: &Template| {
            rendered.expansions += 1;
            if let Some(text) = plain_text::render(template.source(), &visible, *value) {
                return text;
            }
            template.render(&visible, *value, scene).unwrap_or_else(|failure| {
                rendered.failures += 1;
                failure
            })
        };
        let values: Vec<String> = rule.labels.iter().map(|(_, template)| text(template)).collect();
        let labels = record::alert_labels(rule, element, |at| values[at].clone());
        let annotations =
            annotations.iter().map(|(name, template)| (name.clone(), text(template))).collect();
        rendered.elements.push((labels, annotations));
    }
    rendered
}

#[cfg(test)]
mod tests {
    use model::{Sample, Series};
    use storage::{Batch, Limits, Storage};

    use super::*;
    use crate::rule_file::{Defaults, read_group};
    use crate::template_scene::{Lookups, Surroundings};

    /// The annotation `a` of each of some hosts, whose value in the store is their number.
    async fn texts(template: &str, hosts: usize, timeout: Duration) -> Vec<String> {
        let storage = Storage::memory(Limits::default());
        let at = Timestamp::from_seconds(1_000_000);
        let series = (0..hosts).map(|host| Series {
            labels: Labels::from_pairs([("__name__", "x"), ("n", &host.to_string())]),
            samples: vec![Sample { timestamp: at, value: host as f64 }],
        });
        let batch = Batch { series: series.collect(), metadata: Vec::new() };
        storage.writer().write(batch).await.expect("memory takes it");
        let rules = format!("rules: [{{alert: A, expr: x, annotations: {{a: {template:?}}}}}]");
        let group = read_group("g", &rules, &Defaults::default()).expect("the rule is valid");
        let elements: Vec<Written> = (0..hosts)
            .map(|host| (Labels::from_pairs([("n", host.to_string())]), host as f64))
            .collect();
        let surroundings = Surroundings::default();
        let scene = Scene { surroundings: &surroundings, at, lookups: Lookups::default() };
        let metrics = Metrics::register(&testkit::context_at(at), &[], 1);
        let (rule, reader, budget) = (&group.rules[0], storage.reader(), Budget { timeout });
        let expanded = expand(rule, &elements, &scene, &reader, budget, &metrics).await;
        expanded.into_iter().map(|(_, mut annotations)| annotations.remove("a").unwrap()).collect()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn every_element_asks_its_own_query_and_answers_may_lead_to_others() {
        let own =
            r#"{{ with printf "x{n=%q}" $labels.n | query }}{{ . | first | value }}{{ end }}"#;
        assert_eq!(texts(own, 3, LONG).await, ["0", "1", "2"]);
        let next = r#"{{ $v := query "max(x)" | first | value }}{{ query (printf "x == %v" $v) | first | label "n" }}"#;
        assert_eq!(texts(next, 3, LONG).await, ["2", "2", "2"]);
    }

    #[tokio::test]
    async fn more_queries_than_a_rule_may_ask_fail_the_templates_that_are_left() {
        let own = r#"{{ printf "x{n=%q}" $labels.n | query | first | value }}"#;
        let texts = texts(own, QUERIES_MAX + 7, LONG).await;
        let failed = texts.iter().filter(|text| text.contains("more than 200 queries")).count();
        assert_eq!(failed, 7);
    }

    #[tokio::test]
    async fn queries_that_depend_on_each_other_for_ever_are_stopped() {
        let steps: String =
            (0..9).map(|_| "{{ $v = query (printf \"x + %v\" $v) | first | value }}").collect();
        let texts = texts(&format!("{{{{ $v := 1.0 }}}}{steps}"), 1, LONG).await;
        // The value stays the same here, so nothing new is asked.
        assert_eq!(texts, [""]);
        let steps: String =
            (0..9).map(|_| "{{ $v = query (printf \"x + 1 + %v\" $v) | first | value }}").collect();
        let texts = self::texts(&format!("{{{{ $v := 1.0 }}}}{steps}"), 1, LONG).await;
        assert!(texts[0].contains("depend on each other"), "{texts:?}");
    }

    #[tokio::test]
    async fn a_query_that_is_wrong_or_late_fails_its_template_only() {
        for (template, timeout, expected) in [
            (r#"{{ query "x +" }}"#, LONG, "query \"x +\": 1:"),
            (r#"{{ query "x[5m]" }}"#, LONG, "a rule needs an instant vector"),
            (r#"{{ query "x" }}"#, Duration::ZERO, "timed out"),
        ] {
            let texts = texts(template, 2, timeout).await;
            assert!(
                texts.iter().all(|text| text.starts_with("<error expanding template: ")
                    && text.contains(expected)),
                "{texts:?}"
            );
        }
        assert_eq!(texts("{{ $labels.n }}", 2, Duration::ZERO).await, ["0", "1"]);
    }
}
