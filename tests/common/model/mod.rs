//! A model of the store: a map that says what every operation must answer, and a machine that runs operations on both
//! and compares. Shared by `tests/model.rs`, which draws operations at random, and the fuzzer.
//!
//! What the model says is said once more and otherwise than in the library: whole maps are cloned, lists are sorted,
//! and nothing is written anywhere.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod compare;
mod json;
mod listing;
mod live;
mod looks;
mod machine;
mod operation;
mod source;
mod state;
mod stream;
mod tokens;
mod writes;

pub use live::Setting;
pub use machine::Machine;
pub use source::operations;
