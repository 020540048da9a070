"""Find out whether W&B has a key, and whether it is to be online."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UserError

SAAS = ("api.wandb.ai", "api.forge.coreweave.com")
OTHER_NAMES = {"run": "online", "dryrun": "offline"}  # that W&B takes in WANDB_MODE, too


def has_wandb_key() -> bool:
    """Return True where W&B would find a key: in the environment, in its settings or, for its host, in the netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname
    settings = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb"), "settings")
    wanted: dict[Path, tuple[str, ...]] = {settings: ("api_key",), Path("wandb/settings"): ("api_key",)}
    wanted[Path(os.environ.get("NETRC", "~/.netrc"))] = (own,) if own else SAAS
    return any(find_in_file(path.expanduser(), words) for path, words in wanted.items())


def find_in_file(path: Path, words: tuple[str, ...]) -> bool:
    """Return True where a file can be read and holds one of the words."""
    try:
        content = path.read_text(errors="replace")
    except OSError:
        return False
    return any(word in content for word in words)


def choose_wandb_mode(typed: str) -> str:
    """Return online, offline or disabled: as `typed`; for auto as WANDB_MODE says, else online where there is a key.

    Raises UserError for another WANDB_MODE, and where W&B is to be online without a key.
    """
    named = "" if typed != "auto" else os.environ.get("WANDB_MODE", "").lower()
    source = f"WANDB_MODE={named}" if named else f"logger.mode={typed}"
    mode = OTHER_NAMES.get(named, named) or typed
    if mode == "auto":
        return "online" if has_wandb_key() else "offline"
    if mode not in ("online", "offline", "disabled"):
        raise UserError(f"{source}: choose one of: online, offline, disabled")
    if mode == "online" and not has_wandb_key():
        raise UserError(f"{source}: W&B has no key here; type `wandb login`, set WANDB_API_KEY, or logger.mode=offline")
    return mode
