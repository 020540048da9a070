"""The command line (imports no torch)."""
