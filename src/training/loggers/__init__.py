"""What is written beside metrics.csv: one adapter a logger."""
