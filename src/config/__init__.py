"""The typed configuration (imports no torch)."""
