//! The laws of the join, tried on generated histories.
