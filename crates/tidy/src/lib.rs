//! The house rules that a test can hold; see `tests/tidy.rs`. This library is empty on purpose.
