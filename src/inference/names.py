"""Give a network's tensors the names of torchvision or timm, from which our own loader reads them again."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..config.model import ModelConfig
from ..errors import UserError
from ..models.pretrained.naming import TORCHVISION, translate_names

RULES = (  # ours, and theirs; an index is of a residual branch, where convolutions and activations take turns
    (r"backbone\.stem\.0\.0", "conv1"),
    (r"backbone\.stem\.0\.1", "bn1"),
    (r"backbone\.stages\.(\d)\.(\d+)\.residual\.(\d)\.0", "layer{0}.{1}.conv{2}"),
    (r"backbone\.stages\.(\d)\.(\d+)\.residual\.(\d)\.1", "layer{0}.{1}.bn{2}"),
    (r"backbone\.stages\.(\d)\.(\d+)\.shortcut\.([01])", "layer{0}.{1}.downsample.{3}"),
    (r"backbone\.stages\.(\d)\.(\d+)\.squeeze\.fc([12])", "layer{0}.{1}.se.fc{3}"),
    (r"backbone\.(features\..+)", "{3}"),
    (r"head\.linear", "{head}"),
    (r"head\.layers\.(\d+)", "classifier.{3}"),
)
THEIR_NAMES = {"wrn50_2": "wide_resnet50_2", "wrn101_2": "wide_resnet101_2"}  # of the network, where it is not ours
TIMM_NAMES = {f"se_resnet{depth}": f"seresnet{depth}" for depth in (50, 101, 152)}
TIMM_NAMES |= {f"se_resnext{depth}_32x4d": f"seresnext{depth}_32x4d" for depth in (50, 101)}


def rename_tensors(state: Mapping[str, Tensor], model: ModelConfig, library: str) -> dict[str, Tensor]:
    """Return the tensors under the names of a library, "torchvision" or "timm".

    Raises UserError for a network that has no such names, which our loader could not read back.
    """
    head = "classifier" if any(".features." in name for name in state) else "fc"
    found = {translate(name, head): value for name, value in state.items()}
    if library == "timm" and any(name.startswith("classifier.") and name[11].isdigit() for name in found):
        found = {}  # timm writes the dense layers of VGG as convolutions
    back = translate_names(found, TORCHVISION)
    ours = any(name.startswith(("backbone.", "head.")) for name in found)  # no rule knows these
    if ours or len(back) != len(state) or any(name not in back for name in state):
        raise UserError(
            f"format={library}: {library} has no names for the parts of model={model.name} (family {model.family}); "
            "use format=safetensors, which has ours"
        )
    return found


def translate(name: str, head: str) -> str:
    """Return their name of a tensor, or our own where there is none."""
    module, dot, leaf = name.rpartition(".")
    for pattern, theirs in RULES:
        if found := re.fullmatch(pattern, module):
            parts = found.groups()
            numbers = [int(part) if part.isdigit() else 0 for part in parts]
            stage = numbers[0] + 1 if parts else 0
            block = numbers[1] if len(parts) > 1 else 0
            layer = numbers[2] // 2 + 1 if len(parts) > 2 else 0
            return theirs.format(stage, block, layer, parts[-1] if parts else "", head=head) + dot + leaf
    return name


def build_theirs(state: Mapping[str, Tensor], model: ModelConfig, library: str, classes: int) -> nn.Module | None:
    """Return the library's own network with these tensors; None where it has none, or is not installed.

    Raises RuntimeError where its network of this name has other tensors.
    """
    name = THEIR_NAMES.get(model.name, model.name)
    try:
        if library == "timm":
            import timm

            name = TIMM_NAMES.get(model.name, name)
            if not timm.is_model(name):
                return None
            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
        else:
            from torchvision import models

            if name not in models.list_models(module=models):
                return None
            with torch.random.fork_rng():
                network = models.get_model(name, weights=None, num_classes=classes)
    except ImportError:
        return None
    network.load_state_dict(dict(state))
    return network.eval().requires_grad_(False)
