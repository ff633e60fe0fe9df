//! Who may change something at hbs: programs on this machine, and who has a token. See [`daemon::Door`].

use std::net::IpAddr;

pub(crate) use daemon::{Door, foreign};

/// Who makes a change. A handler that takes one is for those only who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the token, or `local` for a program on this machine.
    pub(crate) actor: String,
    /// The address of the socket's other end.
    pub(crate) peer: IpAddr,
}

impl From<daemon::Caller> for Caller {
    fn from(caller: daemon::Caller) -> Self {
        Self { actor: caller.actor, peer: caller.peer }
    }
}
