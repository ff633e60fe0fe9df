//! What is imported means what it meant.
#![cfg(test)]

mod aggregators;
mod agreement;
mod engine;
mod histories;

mod output;
mod portal;
