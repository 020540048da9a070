"""Put an export on Hugging Face's hub. Who is logged in is the library's business: no token is read, kept or shown."""

import re
from pathlib import Path

from ..errors import UserError
from .card import CARD
from .exporting import FILES

REPOSITORY = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", re.ASCII)
TOKEN = re.compile(r"hf_\w+|(?i:bearer)\s+\S+")


def check_repository(name: str) -> str:
    """Return the name of a repository; raise UserError where it can be none."""
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise UserError(f"push={name[:80]}: name a repository of the hub, as user/name")
    return name


def push(folder: Path, repository: str, *, public: bool) -> str:
    """Upload the files of an export, and its card as README.md; return the address.

    A new repository is private unless `public`. Raises UserError where the library is absent or the hub refuses.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError("push=: needs huggingface_hub; pip install 'deep-residual-learning[hub]'") from None
    try:
        api = HfApi()
        address = str(api.create_repo(repository, private=not public, exist_ok=True))
        for name in FILES.values():
            if (folder / name).exists():
                api.upload_file(path_or_fileobj=folder / name, path_in_repo=name, repo_id=repository)
        api.upload_file(path_or_fileobj=folder / CARD, path_in_repo="README.md", repo_id=repository)
    except Exception as error:  # of the network, of the hub, or of who is logged in
        reason = TOKEN.sub("…", (str(error).strip() or type(error).__name__).splitlines()[0])
        raise UserError(
            f"push={repository}: the hub refuses, or cannot be reached ({reason[:200]}); log in by: hf auth login. "
            f"The files are in {folder}"
        ) from None
    return address
