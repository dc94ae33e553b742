//! What many machines know together.

pub mod evidence;
