//! How to say an alert on each channel, as pure functions: the requests with their signatures, what an answer
//! means, when to try again, and what comes back when somebody presses a button. No I/O and no clock.

pub mod alibaba;
pub mod answer;
pub mod callback;
pub mod calls;
pub mod channel;
pub mod compose;
pub mod crypt;
pub mod dingtalk_app;
pub mod dingtalk_robot;
pub mod exec;
pub mod feishu_app;
pub mod feishu_bot;
pub mod handle;
pub mod legacy_form;
pub mod link;
pub mod mail;
pub mod markdown;
pub mod message;
pub mod mute;
pub mod next;
pub mod pace;
pub mod pagerduty;
pub mod redraw;
mod secret;
pub mod sign;
pub mod signed_http;
pub mod slack;
mod spec;
mod spoken;
pub mod telegram;
pub mod tencent;
pub mod twilio;
pub mod webhook;
pub mod wecom_app;
pub mod wecom_webhook;
pub mod window;
mod words;

pub use answer::{Answer, Fault, Reply, Whose};
pub use channel::{Access, Channel, How, Limits, Parcel, Request};
pub use message::{Button, Kind, Mention, Message, Own, Urgency};
pub use secret::{Secret, repeats};
pub use spec::{FAMILIES, Spec};
pub use words::Language;
