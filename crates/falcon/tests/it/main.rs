//! What is imported means what it meant.
#![cfg(test)]

mod agreement;
mod engine;
mod histories;
mod original;

mod portal;
