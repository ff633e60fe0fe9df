//! Alarm from outside: over HTTP, with a real store, a webhook that remembers and a clock that the test
//! moves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod api;
mod bulk;
mod callbacks;
mod claiming;
mod delivery;
mod drain;
mod escalation;
mod falcon_events;
mod harness;
mod maintenance;
mod muting;
mod noise;
mod objects;
mod objects_followed;
mod people;
mod phones;
mod reminders;
mod restart;
mod robots;
mod routing;
mod sending;
mod several;
mod silence_pages;
mod silences;
mod templates;
mod together;
mod watchdogs;
mod web;
mod wecom;
