"""Fetch the sets that are published as archives, unpack them, verify their md5, and read them by torchvision."""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...errors import UserError
from ...machine.download import DownloadError, fetch, md5_of
from ..info import DatasetInfo
from ..raw import Raw, Split


@dataclass(frozen=True)
class Archive:
    """Describe an archive to download, and the files in it."""

    name: str
    md5: str
    files: dict[str, str]  # what it unpacks to: path -> md5
    urls: tuple[str, ...]  # tried in this order; the md5 decides what is accepted


@dataclass(frozen=True)
class PublishedSet:
    """Describe a published set, whose archives lie in data.root/folder and are unpacked there."""

    info: DatasetInfo
    reader: str  # the class of torchvision.datasets
    archives: tuple[Archive, ...]
    folder: str = ""

    @property
    def content(self) -> str:
        """Return the md5 of the set's archive, or of the list of its archives' md5s."""
        if len(self.archives) == 1:
            return self.archives[0].md5
        listed = " ".join(archive.md5 for archive in self.archives)
        return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()

    def load(self, root: str, download: bool) -> Raw:
        """Read the set from ``root``, unpacking or fetching it first where needed.

        Raises UserError for a missing set, a failed download, and a damaged file.
        """
        place = Path(root).expanduser() / self.folder
        for archive in self._missing(place):
            self._bring(archive, place, download)
            _unpack(archive, place)
        for archive in self.archives:
            for name, md5 in archive.files.items():
                _verify(place / name, md5)

        import torchvision.datasets

        reader = getattr(torchvision.datasets, self.reader)
        train, test = (reader(Path(root).expanduser(), train=train) for train in (True, False))
        return Raw(self.info, _convert_split(train), _convert_split(test))

    def _missing(self, place: Path) -> list[Archive]:
        return [a for a in self.archives if not all((place / name).is_file() for name in a.files)]

    def _bring(self, archive: Archive, place: Path, download: bool) -> None:
        """Make sure that the archive is in ``place``; download it where it is not."""
        path = place / archive.name
        if path.is_file():
            return _verify(path, archive.md5)
        reason = "data.download=false"
        try:
            if download:
                return fetch(archive.urls, path, archive.md5)
        except DownloadError as error:
            reason = f"its download failed ({error})"
        needed = ", ".join(f"{a.name} (md5 {a.md5})" for a in self._missing(place))
        raise UserError(
            f"{self.info.name} is not in {place.resolve()}, and {reason}.\n"
            f"Put {needed} there, or set data.root=… to the folder that has it."
        )


def _unpack(archive: Archive, place: Path) -> None:
    """Unpack beside the archive and move file by file, so that no half-written file has its final name."""
    with tempfile.TemporaryDirectory(dir=place, prefix=".unpack-") as folder:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(place / archive.name) as packed:
                members = [packed.getmember(name) for name in archive.files]
                if hasattr(tarfile, "data_filter"):  # Python 3.12 asks for it; the first 3.10 and 3.11 lack it
                    packed.extractall(folder, members, filter="data")
                else:  # the md5 has vouched for the archive already
                    packed.extractall(folder, members)
        else:
            (name,) = archive.files
            with gzip.open(place / archive.name) as source, open(Path(folder) / name, "wb") as file:
                shutil.copyfileobj(source, file)
        for name in archive.files:
            (place / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).replace(place / name)


def _verify(path: Path, md5: str) -> None:
    found = md5_of(path)
    if found != md5:
        raise UserError(
            f"{path}: damaged, or not the published file (md5 {found}, expected {md5}); "
            "delete it and run again, to fetch or unpack it anew"
        )


class PublishedSplit(Protocol):
    """Hold a split as torchvision's data sets do."""

    data: ArrayLike  # uint8 [N, H, W, C], or [N, H, W] where grey
    targets: ArrayLike  # [N]


def _convert_split(dataset: PublishedSplit) -> Split:
    images = np.asarray(dataset.data)
    return Split(images.reshape(*images.shape[:3], -1), np.asarray(dataset.targets, dtype=np.int64))
