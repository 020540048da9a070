"""Build optimizers and schedules."""
