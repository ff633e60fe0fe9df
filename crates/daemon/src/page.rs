//! What the pages of all roles share: the frame around them, the style sheet, languages and colour schemes, the
//! headers that keep hostile texts harmless, and moments in words. Pages are written by the server and need no script.
//!
//! A role makes one [`Frame`] with its words and its menu, dresses its routes in it, and takes a [`Page`] as an
//! argument of each handler. Its templates begin with `{% extends "frame.html" %}`.

mod frame;
mod origin;
mod reader;
mod time;
mod words;

pub use frame::{Frame, hide_from_robots};
pub use origin::{cookie, is_same_origin, parameter};
pub use reader::{MenuItem, Page, RENEWED_EVERY_SECONDS, Switch, rendered};
pub use time::{absolute, ago, ahead, span_words};
pub use words::{Catalogue, Language, Words};
