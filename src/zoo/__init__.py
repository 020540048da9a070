"""The registry of networks: every published one by name. Importing it imports no torch."""

from . import variants  # noqa: F401  (fills the registry)
