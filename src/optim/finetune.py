"""Choose which parts of a network learn at a moment of fine-tuning.

A part is the head, a stage with all that follows it up to the next stage, or the stem. A part that does not learn is in
evaluation mode too, so its BatchNorm keeps the statistics that it came with.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def list_parts(model: nn.Module) -> list[list[nn.Module]]:
    """List the parts of a classifier from its head down to its stem, the order in which they begin to learn."""
    backbone: list[list[nn.Module]] = model.backbone.parts  # type: ignore[union-attr, assignment]
    return [[model.get_submodule("head")], *reversed(backbone)]


def count_learning(finetune: str, progress: float, count: int) -> int:
    """Count the parts, of ``count``, that learn at ``progress`` (done epochs / all epochs), from the head on.

    full: all; head: one; gradual: one at first, evenly more of them, and all from half-time on (Howard & Ruder 2018,
    "Universal Language Model Fine-tuning for Text Classification").
    """
    if finetune == "gradual":
        return min(count, 1 + int(2 * progress * (count - 1) + 1e-9))  # a step of .1 is not less than .1
    return {"full": count, "head": 1}[finetune]


def set_learning(model: nn.Module, progress: float, *, finetune: str, freeze_batchnorm: bool) -> None:
    """Unfreeze the parts that learn at ``progress``, and freeze the others.

    ``freeze_batchnorm`` freezes all of the backbone's BatchNorm at any time.
    """
    found = list_parts(model)
    count = count_learning(finetune, progress, len(found))
    for i, modules in enumerate(found):
        for module in modules:
            module.requires_grad_(i < count).train(i < count)
    if freeze_batchnorm:
        for module in model.get_submodule("backbone").modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False).eval()
