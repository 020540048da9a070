"""Hydra takes plugins only from a package of this name; ours are in src/launcher.py."""

from src import launcher


class Jobs(launcher.Jobs): ...


class Grid(launcher.Grid): ...
