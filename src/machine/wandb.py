"""Find out whether W&B has a key."""

import os
from pathlib import Path


def has_wandb_key() -> bool:
    """Return True where W&B would find a key: in the environment or, under one of its names, in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return any(host in netrc.read_text() for host in ("api.wandb.ai", "api.forge.coreweave.com"))
    except OSError:
        return False
