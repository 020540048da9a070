"""Hydra takes plugins only from a package of this name; ours are in src/sweep."""

from src.sweep import grid, launcher, slurm


class Jobs(launcher.Jobs): ...


class Slurm(slurm.Slurm): ...


class Grid(grid.Grid): ...
