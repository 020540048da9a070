"""Load data sets and make batches of them."""
