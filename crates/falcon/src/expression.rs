//! Rules without a template: `each(metric=latency project=pay)`, for every series with these tags.

use crate::condition::Condition;
use crate::nodata::{Missing, missing};
use crate::portal::Expression;
use crate::report::Note;
use crate::rule::{Alerting, Kind, Rule, alert_name, comparison, labels};
use crate::strategy::{Made, Maker, guarded};

/// What an expression is about.
#[derive(Debug, PartialEq, Eq)]
struct Each {
    metric: String,
    endpoint: Option<String>,
    /// `k=v,k2=v2`
    tags: String,
}

impl Each {
    /// Reads `each(metric=… k=v)`; the error says what is wrong.
    fn parse(text: &str) -> Result<Self, String> {
        let inside = text
            .trim()
            .strip_prefix("each")
            .and_then(|rest| rest.trim().strip_prefix('('))
            .and_then(|rest| rest.strip_suffix(')'))
            .ok_or_else(|| format!("{text:?} is not of the form each(metric=… tag=…)"))?;
        let (mut metric, mut endpoint, mut tags) = (None, None, Vec::new());
        for word in inside.split_whitespace() {
            match word.split_once('=') {
                Some(("metric", name)) => metric = Some(name.to_owned()),
                Some(("endpoint", name)) => endpoint = Some(name.to_owned()),
                Some((key, _)) if !key.is_empty() => tags.push(word),
                _ => return Err(format!("{word:?} is no tag such as module=cart")),
            }
        }
        let metric = metric.filter(|metric| !metric.is_empty());
        let metric = metric.ok_or_else(|| format!("{text:?} names no metric"))?;
        if endpoint.is_none() && tags.is_empty() {
            return Err(format!("{text:?} names a metric and no tag; the original wants both"));
        }
        Ok(Self { metric, endpoint, tags: tags.join(",") })
    }
}

impl Maker<'_> {
    /// The rule for an expression; the error says why there is none.
    pub(crate) fn expression(&self, expression: &Expression) -> Result<Made, String> {
        let each = Each::parse(&expression.text)?;
        let trigger = &expression.trigger;
        let mut made = Made::default();
        let selector = self.selector(&each.metric, &each.tags, &mut made.notes)?;
        let selector = match &each.endpoint {
            Some(endpoint) => selector.of_endpoint(endpoint),
            None => selector,
        };
        let asked = self.ask(&each.metric, &selector, trigger, &mut made.notes)?;
        made.step = asked.step;
        let Condition { holds, is_known, .. } = &asked.condition;
        let trouble = guarded(holds, is_known);
        let origin = format!("e_{}", expression.id);
        let pushed = each
            .endpoint
            .as_ref()
            .and_then(|endpoint| self.pushed.on(&each.metric, &each.tags, endpoint));
        let meaning = pushed.map_or(Missing::Keep, |config| {
            missing(config, asked.function, asked.operator, trigger.threshold)
        });
        let others = self.pushed.any(&each.metric, &each.tags);
        if each.endpoint.is_none() && !others.is_empty() {
            let ids: Vec<String> = others.iter().map(|config| config.id.to_string()).collect();
            let text = format!(
                "nodata {} pushed values into some of its series; give the rule the no_data that is meant",
                ids.join(", ")
            );
            made.notes.push(Note::new("no_data", text));
        }
        made.rules.push(Rule {
            name: alert_name(trigger, &each.metric),
            labels: labels(self.portal, trigger, &origin, expression.action, &mut made.notes),
            comment: format!(
                "expression {}: {} of {}",
                expression.id,
                comparison(trigger),
                expression.text
            ),
            kind: Kind::Alerting(Box::new(Alerting {
                recover: format!("{is_known} unless ({trouble})"),
                missing: meaning,
                unseen: asked.function.needs() * asked.step,
                notifications_max: trigger.notifications_max,
                window: None,
                annotations: self.annotations(&each.metric, trigger, None),
            })),
            expr: trouble,
        });
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn metric_endpoint_and_tags_are_told_apart() {
        let each =
            Each::parse(" each( metric=latency project=pay  endpoint=a module=cart)").unwrap();
        let (metric, endpoint) = ("latency".to_owned(), Some("a".to_owned()));
        assert_eq!(each, Each { metric, endpoint, tags: "project=pay,module=cart".to_owned() });
    }

    #[test]
    fn what_is_no_expression_is_told() {
        for (text, reason) in [
            ("all(metric=x a=b)", "not of the form"),
            ("each(metric=x)", "no tag"),
            ("each(a=b c=d)", "names no metric"),
            ("each(metric=x nothing)", "no tag such as"),
            ("each(metric=x a=b", "not of the form"),
        ] {
            let error = Each::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(each)?\\(?[a-z= ,]{0,20}\\)?") {
            let _ = Each::parse(&text);
        }
    }
}
