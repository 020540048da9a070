"""Measure the error of a trained network on corrupted images: made here, or read from the published arrays."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.cut import limit_samples
from ..data.normalization import apply_affine, compute_affine
from ..errors import UserError
from ..files import Json
from ..tasks.base import copy_for_evaluation
from ..training.assemble import Assembly
from .corruptions import BATCH, CORRUPTIONS, PROCEDURAL, STRENGTHS, corrupt_set
from .logits import collect_pictures, find_device, list_labels

PUBLISHED = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}  # the folders of the published arrays


def measure_corruption_error(assembly: Assembly, *, seed: int = 0, count: int | None = None) -> Json:
    """Measure the error on the test images under each corruption and strength, and its mean; and on clean images.

    With ``count`` only so many images, evenly of all classes and drawn by the seed, are used. The network is folded and
    in the arithmetic of its training, as in validation.
    """
    device = find_device(assembly)
    labels = list_labels(assembly.data, "test")
    numbers = limit_samples(labels.numpy(), count, seed) if count and 1 < count < len(labels) else None
    images = collect_pictures(assembly.data, "test", numbers).to(device)
    labels = (labels if numbers is None else labels[torch.from_numpy(numbers)]).to(device)
    predict = make_predictor(assembly)
    errors: dict[str, list[float]] = {}
    begun, busy = time.perf_counter(), time.process_time()
    with tqdm(total=len(CORRUPTIONS) * STRENGTHS, desc="corruptions", disable=None, leave=False) as bar:
        for name in CORRUPTIONS:
            errors[name] = []
            for strength in range(1, STRENGTHS + 1):
                parts = corrupt_set(images, name, strength, seed=seed)
                errors[name].append(measure_error(predict, parts, labels))
                bar.update()
    seconds = {"wall": time.perf_counter() - begun, "cpu": time.process_time() - busy}
    clean = measure_error(predict, images.split(BATCH), labels)
    return {
        "clean_error": clean,
        "mean_error": float(np.mean(list(errors.values()))),
        "errors": errors,
        "procedural": list(PROCEDURAL),
        "seed": seed,
        "images": len(labels),
        "seconds": seconds,
        "precision": assembly.config.trainer.precision,
    }


def make_predictor(assembly: Assembly) -> Callable[[Tensor], Tensor]:
    """Return the function of uint8 images [B, S, S, C] that names their classes [B]."""
    device = find_device(assembly)
    network = copy_for_evaluation(assembly.network.to(device), assembly.config.trainer.precision)
    affine = compute_affine(assembly.data.normalization, assembly.data.info.image_size, device)

    def predict(images: Tensor) -> Tensor:
        return network(apply_affine(images, *affine)).argmax(dim=1)

    return predict


def measure_error(predict: Callable[[Tensor], Tensor], parts: Iterable[Tensor], labels: Tensor) -> float:
    """Measure the fraction of images, which come in batches, whose class is not the label's."""
    with torch.inference_mode():
        predicted = torch.cat([predict(part) for part in parts])
    return float((predicted != labels).double().mean())


def find_published(data: str, root: object, folder: Path | None) -> Path | None:
    """Return the folder of the published arrays: the one named, or the one in data.root; None where there is none.

    Raises UserError where the named one is missing, or where none were published for this data set.
    """
    if folder is None:
        name = PUBLISHED.get(data)
        found = Path(str(root)).expanduser() / name if name and root else None
        return found if found and found.is_dir() else None
    if data not in PUBLISHED:
        raise UserError(f"cifar_c={folder}: arrays were published for {' and '.join(PUBLISHED)}, not for data={data}")
    if not folder.is_dir():
        raise UserError(
            f"cifar_c={folder}: no such folder; it should hold labels.npy and {next(iter(CORRUPTIONS))}.npy …"
        )
    return folder


def measure_published_error(assembly: Assembly, folder: Path) -> Json:
    """Measure the error on the published arrays, 5 strengths of the test images in one file a corruption.

    Raises UserError where a file is missing, damaged, or of other images.
    """
    device, labels = find_device(assembly), list_labels(assembly.data, "test")
    check_labels(folder, labels)
    shape = (*(assembly.data.info.image_size,) * 2, assembly.data.info.channels)
    predict, errors = make_predictor(assembly), {}
    for name in tqdm(CORRUPTIONS, folder.name, disable=None, leave=False):
        array = read_array(folder / f"{name}.npy", (STRENGTHS * len(labels), *shape))
        errors[name] = [
            measure_error(predict, split_array(array, k * len(labels), len(labels), device), labels.to(device))
            for k in range(STRENGTHS)
        ]
    mean = float(np.mean(list(errors.values())))
    return {"folder": folder.name, "mean_error": mean, "errors": errors, "images": len(labels)}


def split_array(array: np.ndarray, start: int, count: int, device: torch.device) -> Iterator[Tensor]:
    """Yield a part of mapped images in batches on the device."""
    for first in range(start, start + count, BATCH):
        yield torch.from_numpy(np.array(array[first : min(first + BATCH, start + count)])).to(device)


def check_labels(folder: Path, labels: Tensor) -> None:
    """Raise UserError where the labels of the arrays are not those of the test images, five times."""
    stored = read_array(folder / "labels.npy", (STRENGTHS * len(labels),))
    if not np.array_equal(stored, np.tile(labels.numpy(), STRENGTHS)):
        raise UserError(f"{folder / 'labels.npy'}: these are not the labels of the run's test images, five times")


def read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Map an array of bytes of this shape; raise UserError for any other file."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the published folder holds one for each corruption") from None
    except Exception:  # np.load raises anything from ValueError to EOFError for a damaged file
        raise UserError(f"{path}: cannot be read as an array of numbers; fetch it again") from None
    if array.shape != shape or array.dtype.kind not in "iu":
        raise UserError(
            f"{path}: holds {array.dtype} of shape {array.shape}; whole numbers of shape {shape} are needed"
        )
    return array
