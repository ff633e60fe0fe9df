//! What there is in the store: series, label names, label values, metadata.

use model::{Selection, Timestamp};
use wire::prom_api::{self, Notes, unescape_label_name};

use crate::error::ApiError;
use crate::params::Params;
use crate::site::Ask;

const TRUNCATED: &str = "results truncated due to limit";

/// `/api/v1/series`
pub(crate) async fn series(ask: &Ask, params: &Params) -> Result<String, ApiError> {
    let scope = Scope::read(params)?;
    if scope.selections.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let mut found = ask.series(&scope.selections, scope.ask_for()).await?;
    let notes = scope.cut(&mut found, ask);
    Ok(prom_api::success(|out| prom_api::put_label_sets(out, &found), &notes))
}

/// `/api/v1/labels`
pub(crate) async fn label_names(ask: &Ask, params: &Params) -> Result<String, ApiError> {
    let scope = Scope::read(params)?;
    let mut names =
        ask.label_names(&scope.selections, (scope.start, scope.end), scope.ask_for()).await?;
    let notes = scope.cut(&mut names, ask);
    Ok(prom_api::success(|out| prom_api::put_texts(out, &names), &notes))
}

/// `/api/v1/label/<name>/values`
pub(crate) async fn label_values(
    ask: &Ask,
    name: &str,
    params: &Params,
) -> Result<String, ApiError> {
    let name = unescape_label_name(name);
    let scope = Scope::read(params)?;
    let mut values = ask
        .label_values(&name, &scope.selections, (scope.start, scope.end), scope.ask_for())
        .await?;
    let notes = scope.cut(&mut values, ask);
    Ok(prom_api::success(|out| prom_api::put_texts(out, &values), &notes))
}

/// `/api/v1/metadata`
pub(crate) async fn metadata(ask: &Ask, params: &Params) -> Result<String, ApiError> {
    let limit = params.limit("limit")?;
    // Every name has one piece of metadata, so this limit never bites; it is read to refuse
    // nonsense.
    params.limit("limit_per_metric")?;
    let found = ask.metadata(params.get("metric"), limit).await?;
    let pairs = found.iter().map(|(name, about)| (name.as_str(), about));
    let notes = Notes { warnings: ask.warnings(), infos: Vec::new() };
    Ok(prom_api::success(|out| prom_api::put_metadata(out, pairs), &notes))
}

/// Which series, over which time, and how many results.
struct Scope {
    selections: Vec<Selection>,
    start: Timestamp,
    end: Timestamp,
    limit: usize,
}

impl Scope {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let start = params.time_or("start", Timestamp::MIN)?;
        let end = params.time_or("end", Timestamp::MAX)?;
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let limit = params.limit("limit")?;
        let selections = params
            .selectors()?
            .into_iter()
            .map(|matchers| Selection { matchers, start, end })
            .collect();
        Ok(Self { selections, start, end, limit })
    }

    /// One more than wanted, to see whether there are more; 0 is without limit.
    fn ask_for(&self) -> usize {
        if self.limit == 0 { 0 } else { self.limit.saturating_add(1) }
    }

    fn cut<T>(&self, found: &mut Vec<T>, ask: &Ask) -> Notes {
        let mut notes = Notes { warnings: ask.warnings(), infos: Vec::new() };
        if self.limit > 0 && found.len() > self.limit {
            found.truncate(self.limit);
            notes.warnings.push(TRUNCATED.to_owned());
        }
        notes
    }
}
