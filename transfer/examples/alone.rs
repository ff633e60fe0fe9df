//! transfer alone, to be measured: `alone CONFIG.toml DATA_DIR`, where the file holds the keys of the
//! section `[transfer]`. Without destinations it stores into DATA_DIR.

use std::path::PathBuf;

use anyhow::Context as _;
use daemon::{Clock, Context};
use storage::{LocalConfig, Storage};
use tokio::signal::unix::{SignalKind, signal};
use transfer::{Config, Deps};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut paths = std::env::args().skip(1).map(PathBuf::from);
    let usage = "usage: alone CONFIG.toml DATA_DIR";
    let (file, data_dir) = (paths.next().context(usage)?, paths.next().context(usage)?);
    let validate = |config: &Config, faults: &mut daemon::Faults| config.validate(faults);
    let config: Config = daemon::load_config(Some(&file), validate)?;
    let context = Context::new("transfer", Clock::System)?;
    let mut storage = None;
    if config.is_storing() {
        let local = LocalConfig::new(data_dir.join("samples"));
        storage = Some(Storage::open(local, context.clock.now()).await?);
    }
    let deps = Deps { storage, queue_dir: data_dir.join("queue") };
    transfer::start(config, deps, &context).await?;
    signal(SignalKind::terminate())?.recv().await;
    context.stop().await;
    Ok(())
}
