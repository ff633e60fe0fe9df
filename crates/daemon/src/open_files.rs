//! How many files this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Where the limit cannot be read: what every system allows.
const AT_LEAST: usize = 1024;

/// Raises the soft limit, 1024 by tradition, to the hard one: every agent and every client is an open file.
pub(crate) fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is (see it with: ulimit -n)");
    }
}

/// The limit as it is now.
pub(crate) fn limit() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((AT_LEAST as u64, 0));
    usize::try_from(soft).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(512), hard).unwrap();
        raise_limit();
        assert_eq!(limit() as u64, hard);
    }
}
