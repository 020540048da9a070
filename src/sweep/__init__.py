"""Many runs: grids, launchers, searches."""
