"""Download an archive, resumably and with a progress bar, from the first mirror that delivers it whole."""

import fcntl
import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path

from tqdm import tqdm

PATIENCE = 8  # how long to wait for an answer or a byte before the next mirror is tried [s]


class DownloadError(Exception):
    """Say, in a few words, why no mirror delivered the archive."""


def md5_of(path: Path) -> str:
    """Return the md5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)  # finds damage; else a FIPS machine would refuse md5
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(urls: tuple[str, ...], target: Path, md5: str) -> None:
    """Download ``target`` into ``target``.part, which an interrupted download resumes, and rename it when it is whole.

    Several processes may call it at once: one downloads, the others wait and find the file. Raises DownloadError, and
    then leaves no new empty directory behind.
    """
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not target.exists():
                _fetch_any(urls, part, md5)
                part.replace(target)
    except OSError as error:
        raise DownloadError(f"{error.strerror or error}: {error.filename or target.parent}") from None
    finally:
        if part.exists() and part.stat().st_size == 0:
            part.unlink()
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _fetch_any(urls: tuple[str, ...], part: Path, md5: str) -> None:
    if md5_of(part) == md5:
        return  # whole, but interrupted before it was renamed
    reasons = []
    for url in urls:
        while True:
            before = part.stat().st_size
            try:
                _append(url, part)
                if md5_of(part) == md5:
                    return
                reason = "delivered another file"
                os.truncate(part, 0)
                break
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", None) or error or type(error).__name__)
                if getattr(error, "code", None) == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    os.truncate(part, 0)  # as long as the file, but with other content
                if part.stat().st_size == before:
                    break  # no progress: the next mirror; else go on where the connection broke
        reasons.append(f"{url.split('/')[2]}: {reason}")
    raise DownloadError("; ".join(reasons))


def _append(url: str, part: Path) -> None:
    """Append the missing rest of the file at ``url`` to ``part``."""
    have = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response, open(part, "ab") as file:
        if have and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(have := 0)
        total = have + response.length if response.length is not None else None
        often = 0.2 if sys.stderr.isatty() else 60  # seconds between the lines, so that a log stays short
        bar = tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, mininterval=often)
        with bar as progress:
            while chunk := response.read(1 << 16):
                file.write(chunk)
                progress.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise OSError("the connection broke")
