//! One destination with its queue, as both ends of the queue see it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use crate::config::{Config, Destination as Settings};
use crate::queue::{self, Queue};

/// A destination that is reached over the network.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) settings: Settings,
    pub(crate) queue: Arc<Queue>,
}

/// Opens the queues of all destinations and mirrors, in their order; the store of this process has
/// none. Folders of destinations that are not configured any more are left alone, and told.
pub(crate) async fn open_all(
    config: &Config,
    queue_dir: &Path,
) -> anyhow::Result<Vec<Option<Arc<Destination>>>> {
    let mut all = Vec::new();
    for settings in config.way_out() {
        if settings.local {
            all.push(None);
            continue;
        }
        let dir = queue_dir.join(&settings.name);
        let of_queue = queue::Settings {
            bytes_max: settings.queue_bytes_max,
            when_full: settings.when_full,
            is_synced: config.queue_sync,
        };
        let (folder, name) = (dir.clone(), settings.name.as_str());
        let queue = spawn_blocking(move || Queue::open(&folder, of_queue)).await?;
        let queue = queue.with_context(|| {
            format!("open the queue of destination {name} in {}", dir.display())
        })?;
        let stats = queue.stats();
        if stats.waiting_samples > 0 || stats.damaged_bytes > 0 {
            tracing::info!(
                destination = name,
                samples = stats.waiting_samples,
                damaged_bytes = stats.damaged_bytes,
                "the queue holds samples of before the start"
            );
        }
        all.push(Some(Arc::new(Destination {
            settings: settings.clone(),
            queue: Arc::new(queue),
        })));
    }
    note_strangers(config, queue_dir);
    Ok(all)
}

/// What waits for a destination that was taken out of the configuration is not sent to anybody.
fn note_strangers(config: &Config, queue_dir: &Path) {
    let folders = std::fs::read_dir(queue_dir).into_iter().flatten().flatten();
    for folder in folders.filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name();
        if !config.way_out().any(|one| name == one.name.as_str()) {
            tracing::warn!(
                queue.dir = %folder.path().display(),
                "this queue belongs to no destination; remove the folder, or configure the destination again"
            );
        }
    }
}
