//! Behaviour of the store through its public ends.
#![cfg(test)]

mod blocks;
mod crash;
mod damage;
mod looks;
mod random;
mod reading;
mod restart;
mod retention;
mod support;
mod writing;
