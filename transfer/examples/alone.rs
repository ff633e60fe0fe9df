//! transfer alone, to be measured: `alone CONFIG.toml DATA_DIR`, where the file holds the keys of the
//! section `[transfer]`. Without destinations it stores into DATA_DIR.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use daemon::{CommonArgs, Context, LogFormat, RuntimeKind};
use storage::{LocalConfig, Storage};
use transfer::{Config, Deps};

fn main() -> ExitCode {
    let args =
        CommonArgs { config: None, log: "info".to_owned(), log_format: LogFormat::Text };
    daemon::run("alone", RuntimeKind::MultiThread, &args, async |context: &Context| {
        let mut paths = std::env::args().skip(1).map(PathBuf::from);
        let usage = "usage: alone CONFIG.toml DATA_DIR";
        let (file, data_dir) = (paths.next().context(usage)?, paths.next().context(usage)?);
        let config: Config =
            daemon::load_config(Some(&file), |config: &Config, faults| config.validate(faults))?;
        let mut storage = None;
        if config.is_storing() {
            let local = LocalConfig::new(data_dir.join("samples"));
            storage = Some(Storage::open(local, context.clock.now()).await?);
        }
        let deps = Deps { storage, queue_dir: data_dir.join("queue") };
        let context = context.for_role("transfer");
        transfer::start(config, deps, &context).await?;
        Ok(())
    })
}
