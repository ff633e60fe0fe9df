//! The better door for operators: a Unix socket that only its owner may open.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use axum::Extension;
use daemon::{Context, Stop};
use tokio::net::UnixListener;

use super::origin::Local;
use super::routes;
use crate::upgrades::Upgrades;

/// Serves the routes of upgrades on the socket of the configuration, if there is one. A socket that
/// an earlier process left behind is replaced; anything else at its place is an error.
pub(crate) fn listen(upgrades: &Upgrades, context: &Context) -> anyhow::Result<()> {
    let path = upgrades.config().socket.to_owned();
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let listener = bind(&path).with_context(|| {
        format!("listen on {}, the socket of hbs.upgrade.socket", path.display())
    })?;
    let service = routes(upgrades.clone()).layer(Extension(Local::Socket)).into_make_service();
    context.spawn_graceful("upgrade socket", move |stop: Stop| async move {
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop.requested());
        if let Err(error) = serving.await {
            tracing::error!(%error, "the socket of upgrades failed");
        }
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => anyhow::bail!("there is something else than a socket"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // Nobody can come in between: the mode is set under a name that nobody knows, then it moves.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}
