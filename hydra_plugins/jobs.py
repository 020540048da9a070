"""Name our plugins where Hydra looks for them, in a package hydra_plugins; they live in src/sweep."""

from src.sweep import grid, launcher, slurm


class Jobs(launcher.Jobs): ...


class Slurm(slurm.Slurm): ...


class Grid(grid.Grid): ...
