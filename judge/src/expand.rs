//! The labels and annotations of the elements of a result: templates are rendered, what they ask by `query`
//! is asked, and they are rendered again with the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Labels, Timestamp};
use storage::Reader;
use tokio::time::Instant;

use crate::metrics::Metrics;
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
