"""Published weights: their formats and names."""
