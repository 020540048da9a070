"""Photos that are decoded while training."""
