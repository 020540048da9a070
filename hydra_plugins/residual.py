"""Name our plugins where Hydra looks for them: in the package hydra_plugins, which all projects share.

They live in src/sweep; installed, that is residual/sweep. Another project's Hydra, which scans this file where both are
installed, finds nothing in it.
"""

import importlib
import sys

for package in ("src", "residual"):
    if f"{package}.cli.compose" in sys.modules:  # it is running
        grid, launcher, slurm = (
            importlib.import_module(f"{package}.sweep.{name}") for name in ("grid", "launcher", "slurm")
        )

        class Jobs(launcher.Jobs): ...

        class Slurm(slurm.Slurm): ...

        class Grid(grid.Grid): ...

        break
