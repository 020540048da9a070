"""Find the file of pretrained weights that a name means, and download it where it is published."""

import difflib
import hashlib
import re
import socket
import sys
from http.client import HTTPException
from pathlib import Path

import torch

from ...errors import UserError
from ...machine.download import DownloadError, fetch
from ...runs.stored import find_checkpoint

KERAS_MD5 = {  # of the files without the last layer
    "resnet50v2": "fac2f116257151a9d068a22e544a4917",
    "resnet101v2": "c0ed64b8031c3730f411d2eb4eea35b5",
    "resnet152v2": "ed17cf2e0169df9d443503ef94b23b33",
}


KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/resnet"


TIMEOUT = 20  # seconds without an answer or a byte before a download is given up


def refuse_weights(path: Path | str, reason: str) -> UserError:
    """Return the error to raise for weights that cannot be used."""
    return UserError(f"model.weights={path}: {reason}")


def compute_sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def find_weights(name: str, model: str) -> Path:
    """Return the file that ``name`` means for the network ``model``; published ones are downloaded into a cache.

    A name is a file, a run directory of ours, torchvision's, such as ResNet50_Weights.IMAGENET1K_V2, of which the
    second half is enough for a network of torchvision's, or KERAS_IMAGENET: what Keras publishes for a ResNet V2.
    Raises UserError where it is none of them.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name == "KERAS_IMAGENET":
        return fetch_keras_file(model)
    if not path.is_dir():
        return fetch_torchvision_file(name, find_torchvision_url(name, model))
    try:
        checkpoint = find_checkpoint(path)
    except UserError as error:
        raise UserError(f"model.weights={error}") from None
    if not checkpoint.is_file():
        raise refuse_weights(name, f"this run has not saved its {checkpoint.name} yet")
    return checkpoint


def find_torchvision_url(name: str, model: str) -> str:
    """Return the address of torchvision's weights of this name, of a classifier or a detector.

    ``model`` completes the short name of a classifier's. Raises UserError for an unknown name, with the nearest ones.
    """
    from torchvision import models

    networks = {network: models.get_model_weights(network) for network in models.list_models(module=models)}
    detectors = [models.get_model_weights(network) for network in models.list_models(module=models.detection)]
    named = {
        f"{enum.__name__}.{key}": weights.url
        for enum in [*networks.values(), *detectors]
        for key, weights in enum.__members__.items()
        if key != "IMAGENET1K_FEATURES"  # their pixels are scaled otherwise, and their head is NaN
    }
    own = networks.get(re.sub("^wrn", "wide_resnet", model))
    short = {full.partition(".")[2]: url for full, url in named.items() if own and full.startswith(own.__name__ + ".")}
    if name in named or name in short:
        return (named | short)[name]
    if re.fullmatch(r"DEFAULT|IMAGENET1K_\w+", name) and not short:
        raise refuse_weights(
            name, f"torchvision has no weights of a network named {model}; give a file or a run directory"
        )
    near = difflib.get_close_matches(name, [*short, *named], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise refuse_weights(name, f"no such file, run directory or torchvision weights{hint}")


def fetch_keras_file(model: str) -> Path:
    """Return the file of Keras' weights for a ResNet V2 without its last layer, downloaded into torch.hub's cache."""
    published = model.partition("_")[0]
    if published not in KERAS_MD5:
        raise refuse_weights("KERAS_IMAGENET", f"Keras' weights are read for {', '.join(KERAS_MD5)}; not for {model}")
    url = f"{KERAS_FILES}/{published}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    try:
        if not path.is_file():
            fetch((url,), path, KERAS_MD5[published])
    except DownloadError as error:
        raise refuse_weights(
            "KERAS_IMAGENET", f"{url} cannot be downloaded ({error}); {explain_manual_download(path)}"
        ) from None
    return path


def explain_manual_download(path: Path) -> str:
    """Return what to do where a download is impossible, as the end of a sentence."""
    return f"put that file at {path}, or anywhere else and type model.weights=<path>"


def fetch_torchvision_file(name: str, url: str) -> Path:
    """Return the file behind ``url`` in torch.hub's cache, downloaded if it is not there yet.

    Raises UserError where the download fails, or where the content is not what the sha256 in the file's name says.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digits = found[1] if found else ""
    if not path.is_file():
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)  # torch.hub would wait for ever
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
        except (OSError, HTTPException, RuntimeError) as error:
            reason = getattr(error, "reason", error)
            raise refuse_weights(
                name, f"{url} cannot be downloaded ({reason}); {explain_manual_download(path)}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)
    if not compute_sha256(path).startswith(digits):
        raise refuse_weights(name, f"{path} is damaged or incomplete; delete it, and it is downloaded again")
    return path
