"""A page that teaches why networks are residual, with the reader's own runs."""
