"""The loggers that are written beside metrics.csv, with an adapter for each."""
