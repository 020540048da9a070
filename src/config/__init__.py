"""The typed configuration (imports no torch)."""

from . import data, logger, optim, task  # noqa: F401  (they register their choices)
