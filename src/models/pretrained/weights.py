"""Starting from pretrained weights: find the file, read it in whichever naming it has, copy it into a network.

Files are read without running code of theirs. The backbone is taken completely or the file is refused; the head only
where it fits.
"""

import difflib
import hashlib
import re
import socket
import sys
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...config.model import ModelConfig
from ...errors import UserError
from ...machine.download import DownloadError, fetch
from ...runs.stored import find_checkpoint
from ...text import natural
from .naming import KERAS_RESNET_V2, OURS, TORCHVISION, keras_variables, translated, unwrapped

CONTAINERS = ("state_dict_ema", "state_dict", "model_state_dict", "model", "net")  # averaged weights come first


KERAS = (".h5", ".hdf5", ".keras")


KINDS = dict.fromkeys(KERAS, "Keras file") | {".safetensors": "safetensors file"}


KERAS_MD5 = {  # of the files without the last layer
    "resnet50v2": "fac2f116257151a9d068a22e544a4917",
    "resnet101v2": "c0ed64b8031c3730f411d2eb4eea35b5",
    "resnet152v2": "ed17cf2e0169df9d443503ef94b23b33",
}


KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/resnet"


PATIENCE = 20  # seconds without an answer or a byte before a download is given up


@dataclass(frozen=True)
class Pretrained:
    """The content of a file of weights, in our naming."""

    state: dict[str, Tensor]
    naming: str  # what the file used: ours, torchvision (timm's is the same) or keras
    normalization: dict[str, Any] | None  # what our checkpoints say of their pixels
    normalize: str  # the data.normalize that the weights expect: weights, imagenet, half or dataset
    classes: tuple[str, ...] | None  # what our checkpoints say of the head
    network: dict[str, Any] | None = None  # and of the network: its settings


def refusal(path: Path | str, reason: str) -> UserError:
    return UserError(f"model.weights={path}: {reason}")


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def locate(name: str, model: str) -> Path:
    """The file that ``name`` means for the network ``model``; torchvision's is downloaded into its cache.

    A name is a file, a run directory of ours, torchvision's, such as ResNet50_Weights.IMAGENET1K_V2, of which the
    second half is enough for a network of torchvision's, or KERAS_IMAGENET: what Keras publishes for a ResNet V2.
    Raises UserError where it is none of them.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name == "KERAS_IMAGENET":
        return keras_file(model)
    if not path.is_dir():
        return cached(name, torchvision_url(name, model))
    try:
        checkpoint = find_checkpoint(path)
    except UserError as error:
        raise UserError(f"model.weights={error}") from None
    if not checkpoint.is_file():
        raise refusal(name, f"this run has not saved its {checkpoint.name} yet")
    return checkpoint


def torchvision_url(name: str, model: str) -> str:
    """Where torchvision keeps the weights of this name, a classifier's or a detector's; ``model`` completes a short
    name of a classifier's."""
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
        raise refusal(name, f"torchvision has no weights of a network named {model}; give a file or a run directory")
    near = difflib.get_close_matches(name, [*short, *named], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise refusal(name, f"no such file, run directory or torchvision weights{hint}")


def keras_file(model: str) -> Path:
    """Keras' weights for a ResNet V2 without its last layer, downloaded into torch.hub's cache."""
    published = model.partition("_")[0]
    if published not in KERAS_MD5:
        raise refusal("KERAS_IMAGENET", f"Keras' weights are read for {', '.join(KERAS_MD5)}; not for {model}")
    url = f"{KERAS_FILES}/{published}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    try:
        if not path.is_file():
            fetch((url,), path, KERAS_MD5[published])
    except DownloadError as error:
        raise refusal("KERAS_IMAGENET", f"{url} cannot be downloaded ({error}); {by_hand(path)}") from None
    return path


def by_hand(path: Path) -> str:
    return f"put that file at {path}, or anywhere else and say model.weights=<path>"


def cached(name: str, url: str) -> Path:
    """The file behind ``url`` in torch.hub's cache, downloaded if need be; the sha256 in its name must be its own."""
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    digits = found[1] if found else ""
    if not path.is_file():
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(PATIENCE)  # torch.hub would wait for ever
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
        except (OSError, HTTPException, RuntimeError) as error:
            reason = getattr(error, "reason", error)
            raise refusal(name, f"{url} cannot be downloaded ({reason}); {by_hand(path)}") from None
        finally:
            socket.setdefaulttimeout(before)
    if not sha256_of(path).startswith(digits):
        raise refusal(name, f"{path} is damaged or only a part; delete it, and it is downloaded again")
    return path


def read(path: Path) -> Pretrained:
    """The weights of a .pt, .pth, .ckpt, .safetensors or Keras file, in our naming.

    Raises UserError where there is no such file, where it is damaged, holds code or no tensors, and where its naming
    is none that we know.
    """
    if not path.is_file():
        raise refusal(path, "no such file")
    content = opened(path)
    given = tensors(content)
    if not given:
        raise refusal(path, "there are no tensors in it; a state dict is needed")
    if odd := next((name for name, value in given.items() if not usable(value)), None):
        raise refusal(path, f"{odd} is no ordinary tensor of finite numbers ({given[odd].dtype})")
    if path.suffix in KERAS:
        pretrained = Pretrained(translated(given, KERAS_RESNET_V2), "keras", None, "half", None)
    elif any(OURS.match(name) for name in given):
        info, config, normalization = (part(content, key) for key in ("info", "config", "normalization"))
        expected, classes = "weights" if normalization else "dataset", tuple(info.get("classes", ())) or None
        network = part(config, "model") or None
        pretrained = Pretrained(given, "ours", normalization or None, expected, classes, network)
    else:
        pretrained = Pretrained(translated(given, TORCHVISION), "torchvision", None, "imagenet", None)
    if not any(OURS.match(name) for name in pretrained.state):
        keras = "Keras's ResNetV2, as model.save('x.h5') writes them"
        known = keras if path.suffix in KERAS else "our, torchvision's or timm's networks"
        raise refusal(path, f"its names ({', '.join(sorted(given)[:2])}, …) are not those of {known}")
    return pretrained


def part(content: Any, key: str) -> dict[str, Any]:
    """The dictionary under a key, or an empty one where there is something else or nothing."""
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def opened(path: Path) -> Any:
    """What the file holds; UserError where it is damaged or where reading it would run code."""
    try:
        if path.suffix in KERAS:
            return keras_variables(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):  # timm stores its arguments
            warnings.simplefilter("ignore")  # torch's advice on what it cannot read
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except PermissionError:
        raise refusal(path, "permission denied") from None
    except Exception as error:  # a damaged file raises anything from EOFError to RuntimeError
        if code := re.search(r"GLOBAL \S+|TorchScript", str(error)):
            what = f"it holds code or a whole object ({code[0].removeprefix('GLOBAL ')})"
            raise refusal(path, f"{what}; a state dict is needed: torch.save(model.state_dict(), path)") from None
        kind = KINDS.get(path.suffix, "state dict written by torch.save")
        raise refusal(path, f"damaged, truncated, or no {kind}") from None


def usable(value: Tensor) -> bool:
    """True for dense tensors of finite real numbers, or whole ones, as counts are."""
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
        return False
    return not value.is_floating_point() or bool(value.isfinite().all())


def tensors(content: Any) -> dict[str, Tensor]:
    """The network's tensors in what a file holds, by name."""
    while isinstance(content, dict):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return unwrapped({str(name): value for name, value in content.items() if isinstance(value, Tensor)})
        content = inner
    return {}


def load(model: nn.Module, pretrained: Pretrained, *, path: Path, classes: Sequence[str]) -> str:
    """Copy the weights into ``model`` and tell in a sentence which.

    The backbone must be the file's to the last tensor; the head is taken where it has the same shapes and, as far as
    the file says, the same classes, and else stays as it is. Raises UserError, with the model untouched, where the
    weights are those of another architecture.
    """
    own, given = model.state_dict(), pretrained.state
    check_backbone(own, given, path)
    head = [name for name in own if name.startswith("head.")]
    fits = all(name in given and given[name].shape == own[name].shape for name in head)
    fits = fits and pretrained.classes in (None, tuple(classes))
    taken = [name for name in own if name in given and (fits or not name.startswith("head."))]
    with torch.no_grad():
        for name in taken:
            own[name].copy_(given[name])
    values = sum(given[name].numel() for name in taken) / 1e6
    report = f"Weights from {path} ({pretrained.naming} naming): {len(taken)} tensors loaded ({values:.1f} M values)"
    if fits:
        return f"{report}, the head among them."
    parts = sorted((name for name in given if name.startswith("head.") and given[name].ndim), key=natural)
    outputs = len(given[parts[-1]]) if parts else 0
    others = "other " if outputs == len(classes) else ""
    skipped = f"skipped: the file's head ({outputs} {others}classes); " if parts else ""
    return f"{report}; {skipped}fresh: head ({len(classes)} classes)."


def check_network(pretrained: Pretrained, network: ModelConfig, path: Path) -> None:
    """Raise UserError where our checkpoint says that its network is another one, though its tensors fit."""
    stored = pretrained.network or {}
    for f in fields(network):
        theirs, ours = stored.get(f.name), getattr(network, f.name)
        if f.metadata.get("dial") and f.name != "head" and f.name in stored and theirs != ours:
            raise refusal(path, f"its network was trained with model.{f.name}={theirs}, and this one has {ours}")
    if stored.get("family", network.family) != network.family:
        raise refusal(path, f"its network is of the family {stored['family']}, and this one of {network.family}")


def check_backbone(own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError unless all of the network's tensors but the head's are given, and no others."""
    ignored = re.compile(r"head\.|.*\.num_batches_tracked$")
    wanted = {name: tuple(value.shape) for name, value in own.items() if not ignored.match(name)}
    found = {name: tuple(value.shape) for name, value in given.items() if not ignored.match(name)}
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    if not (missing or unknown or other):
        return
    first = next(iter(wanted))
    theirs, ours = found.get(first, ()), wanted[first]
    if [*missing, *unknown, *other] == [first] and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]:
        said = f"made for images of {theirs[1]} channels, and the data's have {ours[1]}"
        raise refusal(path, f"{said}; say data.channels={theirs[1]}")
    shapes = [f"{name} {found[name]} for {wanted[name]}" for name in other]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    reasons = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names)
    counts = f"{len(wanted) - len(missing) - len(other)} of the backbone's {len(wanted)} tensors fit"
    raise refusal(path, f"weights of another architecture: {counts} ({reasons})")
