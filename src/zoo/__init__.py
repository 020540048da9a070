"""The registry of networks (imports no torch)."""

from . import variants  # noqa: F401  (fills the registry)
