"""Load sets that lie in memory on the training device."""
