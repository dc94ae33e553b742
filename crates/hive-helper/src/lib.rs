//! The privileged helper of one user's daemon: it holds `CAP_SYS_NICE`, which the daemon does not, lowers what that user's own
//! threads get, and puts back what it changed (decision 0060).
//!
//! `policy` are the rules, pure; `notes` is what is on, on file; `kernel` is the seam to the machine; `service` is what becomes of a
//! request; `serve` is the socket.

pub mod policy;
pub mod kernel;
pub mod paper;
pub mod notes;
pub mod service;
pub mod serve;
