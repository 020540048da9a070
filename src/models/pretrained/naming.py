"""Translate the names that torchvision, timm and Keras give to the parts of a network into ours.

Names are translated by rule, never by order, because a safetensors file keeps no order.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

PREFIXES = ("module.", "_orig_mod.", "model.")  # of data parallelism, torch.compile and Lightning


OURS = re.compile(r"backbone\.(body\.)?(stem|stages|features|norm)\.")  # a detector's backbone is inside a pyramid


# A pattern for the name of a module and what makes ours of the parts that it catches; digits come as numbers.
Rules = tuple[tuple[str, Callable[..., str]], ...]


def name_layer_in_row(stage: int, block: int, place: int) -> str:
    """Return our name of a layer whose place in its block counts convolutions, BatchNorms and activations."""
    return f"backbone.stages.{stage - 2}.{block}.residual.{2 * (place // 3)}.{place % 3}"


TORCHVISION: Rules = (
    # detectors: the pyramid and the heads are torchvision's own; an index more than in files of its first versions
    (r"backbone\.body\.(.+)", lambda layer: rename(layer, TORCHVISION).replace("backbone.", "backbone.body.", 1)),
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)", lambda layer: f"{layer}.0"),
    (r"rpn\.head\.conv", lambda: "rpn.head.conv.0.0"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)", lambda i: f"roi_heads.mask_head.{i - 1}.0"),
    (r"(head\.\w+_head\.conv)\.(\d)", lambda layer, i: f"{layer}.{i // 2}.0"),
    (r"(head\.(?:classification|regression)_head\..+)", lambda layer: layer),
    # classifiers
    (r"conv1", lambda: "backbone.stem.0.0"),
    (r"bn1", lambda: "backbone.stem.0.1"),
    (r"layer(\d)\.(\d+)\.conv(\d)", lambda i, j, k: f"backbone.stages.{i - 1}.{j}.residual.{2 * k - 2}.0"),
    (r"layer(\d)\.(\d+)\.bn(\d)", lambda i, j, k: f"backbone.stages.{i - 1}.{j}.residual.{2 * k - 2}.1"),
    (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.([01])", lambda i, j, k: f"backbone.stages.{i - 1}.{j}.shortcut.{k}"),
    (r"layer(\d)\.(\d+)\.se\.fc([12])", lambda i, j, k: f"backbone.stages.{i - 1}.{j}.squeeze.fc{k}"),
    # networks for CIFAR with the layers of a block in a row
    (r"conv1\.([01])", lambda k: f"backbone.stem.0.{k}"),
    (r"conv(\d)_x\.(\d+)\.residual_function\.(\d)", name_layer_in_row),
    (r"conv(\d)_x\.(\d+)\.shortcut\.([01])", lambda i, j, k: f"backbone.stages.{i - 2}.{j}.shortcut.{k}"),
    (r"(features\.denseblock.+\.(?:norm|conv))\.?([12])", lambda layer, k: f"backbone.{layer}{k}"),  # once norm.1
    (r"(features\.(?:\d+|conv0|norm[05]|transition\d\.(?:norm|conv)))", lambda layer: f"backbone.{layer}"),
    (r"fc|linear|classifier", lambda: "head.linear"),
    (r"classifier\.(\d)", lambda i: f"head.layers.{i}"),
    (r"((?:fc|linear|classifier|pre_logits|head)\..+)", lambda layer: f"head.{layer}"),  # timm's, or somebody's own
)


KERAS_RESNET_V2: Rules = (
    (r"conv1_conv", lambda: "backbone.stem.0"),
    (r"conv(\d)_block(\d+)_preact_bn", lambda i, j: f"backbone.stages.{i - 2}.{j - 1}.norm.0"),
    (r"conv(\d)_block(\d+)_([123])_conv", lambda i, j, k: f"backbone.stages.{i - 2}.{j - 1}.residual.{2 * k - 2}"),
    (r"conv(\d)_block(\d+)_([12])_bn", lambda i, j, k: f"backbone.stages.{i - 2}.{j - 1}.residual.{2 * k - 1}.0"),
    (r"conv(\d)_block(\d+)_0_conv", lambda i, j: f"backbone.stages.{i - 2}.{j - 1}.shortcut"),
    (r"post_bn", lambda: "backbone.norm.0"),
    (r"predictions|probs", lambda: "head.linear"),
    (r"(?!conv\d_)(.+)", lambda layer: f"head.{layer}"),  # what somebody put on top
)


LEAVES = {  # what Keras calls a layer's variables
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


# Keras 3 numbers them, in this order.
KERNEL, NORM = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")


AXES = {4: (3, 2, 0, 1), 2: (1, 0)}  # HWIO to OIHW, inputs x outputs to outputs x inputs


def rename(module: str, rules: Rules) -> str:
    """Return our name of a module, or its own where no rule knows it."""
    for pattern, ours in rules:
        if found := re.fullmatch(pattern, module):
            return ours(*(int(part) if part.isdigit() else part for part in found.groups()))
    return module


def translate_names(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Return the tensors under our names; those that no rule knows keep theirs."""
    split = ((name.rpartition("."), value) for name, value in state.items())
    return {f"{rename(module, rules)}{dot}{leaf}": value for (module, dot, leaf), value in split}


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under their names in the bare network, without the prefixes of its wrappers."""
    bare = dict(state)
    while inner := {name.removeprefix(p): v for p in PREFIXES for name, v in bare.items() if name.startswith(p)}:
        bare = inner
    return {re.sub(r"(?<=\.)(module|_orig_mod)\.", "", name): value for name, value in bare.items()}


def read_keras_variables(path: Path) -> dict[str, Tensor]:
    """Read the variables of a Keras file; return them as <layer>.<torch's name>, in torch's order of axes.

    Files of ``model.save("x.h5")``, such as the published ones, have them at …/<layer>/…/<variable>; Keras 3's
    .weights.h5 and .keras at …/vars/<number>, where an attribute of vars is the layer's name. For damaged files the
    errors of h5py and zipfile are raised.
    """
    import h5py

    found: dict[str, Tensor] = {}

    def visit(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        *groups, variable = name.split("/")
        if groups[-1:] == ["vars"]:
            groups[-1:] = [item.parent.attrs["name"]] if "name" in item.parent.attrs else []
            variable = dict(enumerate(NORM if len(item.parent) == 4 else KERNEL)).get(int(variable), "")
        leaf = LEAVES.get(variable.removesuffix(":0"))
        if leaf and groups:
            known = (group for group in reversed(groups) if rename(group, KERAS_RESNET_V2).startswith("backbone."))
            value = torch.from_numpy(item[()])
            axes = AXES.get(value.ndim, tuple(range(value.ndim)))
            found[f"{next(known, groups[-1])}.{leaf}"] = value.permute(axes).contiguous()

    source: Path | io.BytesIO = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source, "r") as file:
        file.visititems(visit)
    return found
