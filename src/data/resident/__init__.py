"""Sets that lie in memory on the training device."""
