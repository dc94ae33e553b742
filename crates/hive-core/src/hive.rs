//! The many machines: invite, roster, store, sync, budget, advise.

pub mod outside;
