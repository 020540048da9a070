"""A live page of runs, and of predictions, on this machine alone."""
