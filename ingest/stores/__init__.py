"""Where an index lies: one file a store, and what all of them promise."""
