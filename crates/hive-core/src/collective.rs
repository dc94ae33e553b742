//! What only many can do: evidence of several machines, combined.
