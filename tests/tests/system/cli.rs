//! The command line as a whole: every command says what it is for, and what prints data prints JSON if it is asked to. What is
//! sent arrives once.

mod help;
mod json;
mod messages;
mod pull;
mod sending;
