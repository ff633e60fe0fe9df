//! Takes alerts on the Alertmanager API, keeps them and their history, tells the receivers, and shows it all
//! on a web page: who was told what, and why somebody was not.

mod config;
mod severity;

mod app;
mod delivery_http;
mod hooks;
mod http;
mod intake;
mod merge;
mod metrics;
mod mute_http;
mod mute_page;
mod mutes;
mod notification;
mod notify;
mod people;
mod pipeline;
mod queue;
mod route;
mod silence;
mod silence_http;
mod silences;
mod upkeep;
mod web;

pub use app::{Deps, start};
pub use config::{
    BotConfig, Config, LinkKeyConfig, MutesConfig, PersonConfig, ReceiverConfig, SecretUrl,
};
