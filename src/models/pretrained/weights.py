"""Copy pretrained weights into a network: the backbone completely or not at all, the head only where it fits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor, nn

from ...config.fields import get_default
from ...config.model import ModelConfig
from ...text import natural_sort_key
from .files import refuse_weights
from .reading import Pretrained


def load_weights(model: nn.Module, pretrained: Pretrained, *, path: Path, classes: Sequence[str]) -> str:
    """Copy the weights into ``model``; return a sentence that says which were taken.

    The backbone must agree to the last tensor; the head is taken where it has the same shapes and, if the file names
    its classes, the same classes, and otherwise stays as it is. Raises UserError, with the model untouched, for
    weights of another architecture.
    """
    own, given = model.state_dict(), pretrained.state
    check_backbone(own, given, path)
    if whole := next(
        (n for n in own if own[n].is_floating_point() and n in given and not given[n].is_floating_point()), None
    ):
        raise refuse_weights(path, f"{whole} holds {given[whole].dtype}, and a network's weights are fractions")
    head = [name for name in own if name.startswith("head.")]
    fits = all(name in given and given[name].shape == own[name].shape for name in head)
    fits = fits and pretrained.classes in (None, tuple(classes))
    alike = [name for name in own if name in given and given[name].shape == own[name].shape]  # not all counts are
    taken = [name for name in alike if fits or not name.startswith("head.")]
    with torch.no_grad():
        for name in taken:
            own[name].copy_(given[name])
    values = sum(given[name].numel() for name in taken) / 1e6
    report = f"Weights from {path} ({pretrained.naming} naming): {len(taken)} tensors loaded ({values:.1f} M values)"
    if fits:
        return f"{report}, the head among them."
    parts = sorted((name for name in given if name.startswith("head.") and given[name].ndim), key=natural_sort_key)
    outputs = len(given[parts[-1]]) if parts else 0
    others = "other " if outputs == len(classes) else ""
    skipped = f"skipped: the file's head ({outputs} {others}classes); " if parts else ""
    return f"{report}; {skipped}fresh: head ({len(classes)} classes)."


def check_network(pretrained: Pretrained, network: ModelConfig, path: Path) -> None:
    """Raise UserError where our checkpoint stores another network than this one, though its tensors fit."""
    stored = pretrained.network or {}
    later = ("zero_padding", "stride_in") if stored else ()  # dials that checkpoints of before do not store
    for f in fields(network):
        theirs, ours = stored.get(f.name, get_default(f)), getattr(network, f.name)
        if f.metadata.get("dial") and f.name != "head" and f.name in (*stored, *later) and theirs != ours:
            raise refuse_weights(path, f"its network was trained with model.{f.name}={theirs}, and this one has {ours}")
    if stored.get("family", network.family) != network.family:
        raise refuse_weights(path, f"its network is of the family {stored['family']}, and this one of {network.family}")


def check_backbone(own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError unless the file has all tensors of the network but the head's, and no others."""
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
        channels = f"made for images of {theirs[1]} channels, and the data's have {ours[1]}"
        raise refuse_weights(path, f"{channels}; type data.channels={theirs[1]}")
    shapes = [f"{name} {found[name]} for {wanted[name]}" for name in other]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    reasons = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in kinds.items() if names)
    counts = f"{len(wanted) - len(missing) - len(other)} of the backbone's {len(wanted)} tensors fit"
    raise refuse_weights(path, f"weights of another architecture: {counts} ({reasons})")
