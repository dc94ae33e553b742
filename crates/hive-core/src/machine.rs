//! The one machine: observe, learn, decide, act, record.

pub mod facts;
pub mod act;
