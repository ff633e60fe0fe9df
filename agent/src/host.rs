//! Readers of the kernel's tables: bytes under a root directory to plain structs. They decide nothing and
//! never panic, whatever the bytes are.

pub mod cgroup;
pub mod disk;
mod fields;
pub mod file;
pub mod memory;
pub mod mounts;
pub mod network;
pub mod ports;
pub mod pressure;
pub mod processes;
pub mod protocol;
pub mod sock_diag;
pub mod stat;
pub mod system;
pub mod vmstat;
