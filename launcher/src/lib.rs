//! Which release of the agent runs: the file that says so, the check that a release is whole, and the choice.
//!
//! The binary of this package belongs to the system's package and is never changed by a self-upgrade. It reads
//! `state.json`, chooses, counts the starts of a release on trial, and becomes the agent (`execve`, same process
//! id). Nothing of a new release is needed to go back to the last good one. The agent uses this library to write
//! the same file.

pub mod choose;
pub mod crash;
pub mod keys;
pub mod layout;
pub mod moment;
pub mod release;
pub mod state;
pub mod version;
