"""Load the data sets: one file for each set, or kind of set."""
