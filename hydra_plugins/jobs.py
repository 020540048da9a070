"""Hydra takes plugins only from a package of this name; ours are in src/launcher.py and src/slurm.py."""

from src import launcher, slurm


class Jobs(launcher.Jobs): ...


class Slurm(slurm.Slurm): ...


class Grid(launcher.Grid): ...
