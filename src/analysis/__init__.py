"""What is learnt from trained networks and from data."""
