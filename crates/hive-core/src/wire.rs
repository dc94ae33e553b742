//! Frames: what travels between members.
