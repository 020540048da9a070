"""Read pretrained weights in whichever naming their file has, without running code of theirs."""

import json
import re
import warnings
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ...data.info import Normalization
from ...data.normalization import is_normalization
from ...errors import UserError
from ...runs.archive import DamagedError, read_archive
from .files import refuse_weights
from .naming import KERAS_RESNET_V2, OURS, TORCHVISION, read_keras_variables, strip_prefixes, translate_names

CONTAINERS = ("state_dict_ema", "state_dict", "model_state_dict", "model", "net")  # averaged weights come first


KERAS = (".h5", ".hdf5", ".keras")


KINDS = dict.fromkeys(KERAS, "Keras file") | {".safetensors": "safetensors file"}


@dataclass(frozen=True)
class Pretrained:
    """The content of a file of weights, in our naming."""

    state: dict[str, Tensor]
    naming: str  # what the file used: ours, torchvision (timm's is the same) or keras
    normalization: Normalization | None  # of the pixels, as stored in our checkpoints
    normalize: str  # the data.normalize that the weights expect: weights, imagenet, half or dataset
    classes: tuple[str, ...] | None  # of the head, as stored in our checkpoints
    network: dict[str, object] | None = None  # its settings, as stored in our checkpoints


def read_weights(path: Path) -> Pretrained:
    """Read a .pt, .pth, .ckpt, .safetensors or Keras file; return its weights in our naming.

    Raises UserError where there is no such file, where it is damaged, holds code or no tensors, and where its naming
    is unknown.
    """
    if not path.is_file():
        raise refuse_weights(path, "no such file")
    content = load_content(path)
    given = find_tensors(content)
    if not given:
        raise refuse_weights(path, "there are no tensors in it; a state dict is needed")
    if odd := next((name for name, value in given.items() if not is_usable(value)), None):
        raise refuse_weights(path, f"{odd} is no ordinary tensor of finite numbers ({given[odd].dtype})")
    if path.suffix in KERAS:
        pretrained = Pretrained(translate_names(given, KERAS_RESNET_V2), "keras", None, "half", None)
    elif any(OURS.match(name) for name in given):
        info, config, normalization = (get_section(content, key) for key in ("info", "config", "normalization"))
        if normalization and not is_normalization(normalization):
            raise refuse_weights(path, "its normalization is damaged; a state dict alone is read with data.normalize=…")
        expected, stored = "weights" if normalization else "dataset", info.get("classes")
        classes = tuple(map(str, stored)) if stored and isinstance(stored, list | tuple) else None
        network = get_section(config, "model") or None
        stored_normalization = cast(Normalization, normalization) if normalization else None
        pretrained = Pretrained(given, "ours", stored_normalization, expected, classes, network)
    else:
        pretrained = Pretrained(translate_names(given, TORCHVISION), "torchvision", None, "imagenet", None)
    if not any(OURS.match(name) for name in pretrained.state):
        keras = "Keras's ResNetV2, as model.save('x.h5') writes them"
        known = keras if path.suffix in KERAS else "our, torchvision's or timm's networks"
        raise refuse_weights(path, f"its names ({', '.join(sorted(given)[:2])}, …) are not those of {known}")
    return pretrained


def get_section(content: object, key: str) -> dict[str, object]:
    """Return the dictionary under a key, or an empty one where there is none."""
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def load_content(path: Path) -> object:
    """Return what the file holds; raise UserError where it is damaged or where reading it would run code."""
    try:
        if path.suffix in KERAS:
            return read_keras_variables(path)
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on what it cannot read
            return read_archive(path, safe=[Namespace])  # timm stores its arguments
    except DamagedError as error:
        raise UserError(f"model.weights={error}") from None
    except UserError:
        raise
    except PermissionError:
        raise refuse_weights(path, "permission denied") from None
    except Exception as error:  # a damaged file raises anything from EOFError to RuntimeError
        if code := re.search(r"GLOBAL \S+|TorchScript", str(error)):
            what = f"it holds code or a whole object ({code[0].removeprefix('GLOBAL ')})"
            raise refuse_weights(
                path, f"{what}; a state dict is needed: torch.save(model.state_dict(), path)"
            ) from None
        kind = KINDS.get(path.suffix, "state dict written by torch.save")
        raise refuse_weights(path, f"damaged, truncated, or no {kind}") from None


def read_safetensors(path: Path) -> dict[str, object]:
    """Return the tensors of a safetensors file; of one that src.export has written, as a checkpoint of ours.

    Raises what safetensors and json raise for a damaged file.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored = json.loads((file.metadata() or {}).get("run", "null"))
    if not isinstance(stored, dict):
        return tensors
    if isinstance(normalization := stored.get("normalization"), dict) and normalization.get("mean_image") is not None:
        normalization["mean_image"] = torch.tensor(normalization["mean_image"])
    return {**stored, "state_dict": {f"model.{name}": value for name, value in tensors.items()}}


def is_usable(value: Tensor) -> bool:
    """Return True for dense tensors of finite real numbers (in float32, too) or of integers, such as counts."""
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
        return False
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():  # one value repeated, of any size
        return False
    return not value.is_floating_point() or bool(value.float().isfinite().all())


def find_tensors(content: object) -> dict[str, Tensor]:
    """Return the tensors of the network in what a file holds, by name; none where it holds something else."""
    while isinstance(content, dict):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return strip_prefixes({str(name): value for name, value in content.items() if isinstance(value, Tensor)})
        content = inner
    return {}
