//! `/routing`: who would be told of an alert with these labels.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use daemon::page::{Page, rendered};

use super::{Web, store_away};
use crate::preview::{Preview, preview, read_labels};

/// The page.
#[derive(Debug, Template)]
#[template(path = "routing.html")]
struct RoutingPage {
    /// As they were typed.
    labels: String,
    /// What is wrong with them; empty when nothing is.
    fault: String,
    preview: Option<Preview>,
    page: Page,
}

impl RoutingPage {
    /// Why a way is shut, in words.
    fn reason(&self, word: &str) -> &'static str {
        self.page.text(&format!("reason.{word}"))
    }
}

pub(super) async fn page(State(web): State<Arc<Web>>, page: Page) -> Response {
    let labels = page.parameter("labels").unwrap_or_default();
    if labels.trim().is_empty() {
        return rendered(&RoutingPage { labels, fault: String::new(), preview: None, page });
    }
    let read = match read_labels(&labels) {
        Ok(read) => read,
        Err(fault) => return rendered(&RoutingPage { labels, fault, preview: None, page }),
    };
    match preview(&web.common, &read).await {
        Ok(found) => {
            rendered(&RoutingPage { labels, fault: String::new(), preview: Some(found), page })
        }
        Err(error) => store_away(page, &error),
    }
}
