"""Load photos that are decoded while training."""
