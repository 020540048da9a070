"""Read every picture of a data set once: a thumbnail for comparing, its size and mode, and what cannot be read."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ..config.data import Coco, DataConfig, Folder, ImageNet
from ..data.build import find_photo_folders, load_raw
from ..data.photos.formats import list_suffixes
from ..data.photos.listing import find_photos, scan
from ..data.photos.reader import describe_error, open_image
from ..errors import UserError
from ..files import explain_os_error

SIDE = 32  # of a thumbnail [pixels]


@dataclass(frozen=True)
class Pictures:
    """All readable pictures of a data set, N of them.

    ``thumbnails`` are uint8 [N, SIDE, SIDE, C]; ``labels`` int64 [N] are empty where a picture has not one class;
    ``forms`` are the widths, heights and modes of files; ``digests`` are of what a file holds; ``broken`` are files
    that cannot be read, and why; ``left_out`` says what lies beside the pictures.
    """

    classes: Sequence[str]
    splits: Sequence[str]
    names: Sequence[str]
    labels: np.ndarray
    thumbnails: np.ndarray
    forms: Sequence[tuple[int, int, str]]
    digests: Sequence[str]
    broken: Sequence[tuple[str, str]] = field(default=())
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.names)


def read_pictures(config: DataConfig) -> Pictures:
    """Read the pictures of a data set. Raises UserError where it is missing or in another layout."""
    try:
        match config:
            case Folder(root=root):
                listing = scan(root)
            case ImageNet(root=root):
                listing = find_photos(root)
            case Coco():
                return read_files(list_coco_files(config), (), "")
            case _:
                return read_resident(config)
    except OSError as error:
        raise UserError(explain_os_error(error)) from None
    files = [
        (split, str(listing.root / path), label) for split in listing.splits for path, label in listing.files(split)
    ]
    return read_files(files, listing.classes, listing.left_out)


def list_coco_files(config: Coco) -> list[tuple[str, str, int]]:
    """List the photos in the folders of a COCO set; they have no single class."""
    files = []
    for split, folder in find_photo_folders(config).items():
        names = sorted(entry.name for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in list_suffixes())
        files += [(split, str(folder / name), -1) for name in names]
    return files


def read_resident(config: DataConfig) -> Pictures:
    """Read a set that lies in memory as a whole."""
    raw = load_raw(config)
    parts = {"train": raw.train, "val": raw.val, "test": raw.test}
    splits = {name: split for name, split in parts.items() if split is not None}
    images = np.concatenate([split.images for split in splits.values()])
    side, mode = images.shape[1], "L" if images.shape[3] == 1 else "RGB"
    return Pictures(
        classes=raw.info.classes,
        splits=[name for name, split in splits.items() for _ in range(len(split))],
        names=[f"{name}/{k}" for name, split in splits.items() for k in range(len(split))],
        labels=np.concatenate([split.labels for split in splits.values()]),
        thumbnails=resize(images),
        forms=[(side, side, mode)] * len(images),
        digests=[hashlib.sha256(image).hexdigest() for image in images],
    )


def resize(images: np.ndarray) -> np.ndarray:
    """Resize square pictures uint8 [N, S, S, C] to thumbnails."""
    import torch
    from torch.nn.functional import interpolate

    if images.shape[1] == SIDE:
        return images
    parts = torch.from_numpy(images).permute(0, 3, 1, 2).split(1000)
    resized = [interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True) for part in parts]
    return torch.cat(resized).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def read_files(files: Sequence[tuple[str, str, int]], classes: Sequence[str], left_out: str) -> Pictures:
    """Read picture files, of which each has a split, a path and a label; -1 stands for none."""
    with ThreadPool() as pool:  # Pillow decodes outside of the interpreter's lock
        read = pool.imap(read_file, [path for _, path, _ in files], chunksize=8)
        found = list(tqdm(read, "reading pictures", len(files), disable=None, delay=2, leave=False))
    kept = [k for k, each in enumerate(found) if not isinstance(each, str)]
    if not kept:
        raise UserError("none of the pictures can be read")
    whole = [each for each in found if not isinstance(each, str)]
    labels = np.array([files[k][2] for k in kept], dtype=np.int64)
    return Pictures(
        classes=classes,
        splits=[files[k][0] for k in kept],
        names=[files[k][1] for k in kept],
        labels=labels if classes else labels[:0],
        thumbnails=np.stack([each[0] for each in whole]),
        forms=[each[1] for each in whole],
        digests=[each[2] for each in whole],
        broken=[(files[k][1], each) for k, each in enumerate(found) if isinstance(each, str)],
        left_out=left_out,
    )


def read_file(path: str) -> tuple[np.ndarray, tuple[int, int, str], str] | str:
    """Read a picture file: its thumbnail, its form and the digest of its content; or why it cannot be read."""
    try:
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        with Image.open(path) as file:
            form = (*file.size, file.mode)
        image = ImageOps.fit(open_image(Path(path), "RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)
        return np.asarray(image), form, content
    except Exception as error:  # Pillow's decoders raise a dozen types
        return describe_error(error, Path(path))
