//! Takes alerts on the Alertmanager API, keeps them and their history, tells the receivers, and shows it all
//! on a web page: who was told what, and why somebody was not.

mod config;
mod severity;

mod amconfig;
mod app;
mod claim_end;
mod claim_http;
mod claim_page;
mod claiming;
mod claims;
mod dead_man;
mod dead_man_config;
mod delivery_http;
mod directory;
mod directory_http;
mod directory_store;
mod dispatch;
mod falcon_events;
mod followed;
mod group;
mod hooks;
mod http;
mod incident;
mod inhibit;
mod intake;
mod maintenance;
mod matchers;
mod merge;
mod metrics;
mod mute_http;
mod mute_page;
mod mutes;
mod noise;
mod notification;
mod notify;
mod people;
mod pipeline;
mod plan;
mod preview;
mod queue;
mod quiet;
mod recipients;
mod reminder;
mod rotation;
mod route;
mod route_labels;
mod routing;
mod silence;
mod silence_end;
mod silence_http;
mod silences;
mod teller;
mod texts;
mod times;
mod told;
mod upkeep;
mod view;
mod web;

pub use amconfig::Fault;
pub use app::{Deps, start};
pub use config::{
    BotConfig, Config, LinkKeyConfig, MutesConfig, PersonConfig, ReceiverConfig, SecretUrl,
};
pub use dead_man_config::{DeadManConfig, WatchdogConfig};
pub use directory::{TeamConfig, UserConfig};
pub use falcon_events::FalconEventsConfig;
pub use plan::check_alertmanager_file;
pub use quiet::QuietConfig;
pub use rotation::{Every, RotationConfig};
pub use texts::TextConfig;
pub use texts::preview::{check_templates, render_template};
