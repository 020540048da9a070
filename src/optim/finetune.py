"""Fine-tuning: which parts of a network learn at a moment of the training.

A part is the head, a stage with what follows it up to the next, or the stem. What does not learn is in evaluation mode
too, so its BatchNorm keeps the statistics that it came with.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def list_parts(model: nn.Module) -> list[list[nn.Module]]:
    """The modules of a classifier from its head down to its stem: the order in which they begin to learn."""
    backbone: list[list[nn.Module]] = model.backbone.parts  # type: ignore[union-attr, assignment]
    return [[model.get_submodule("head")], *reversed(backbone)]


def count_learning(finetune: str, progress: float, count: int) -> int:
    """How many of ``count`` parts learn at ``progress`` (done epochs / all epochs), counted from the head.

    full: all; head: one; gradual: one at first, all from half-time on, evenly (Howard & Ruder 2018, "Universal
    Language Model Fine-tuning for Text Classification").
    """
    if finetune == "gradual":
        return min(count, 1 + int(2 * progress * (count - 1) + 1e-9))  # a step of .1 is not less than .1
    return {"full": count, "head": 1}[finetune]


def set_learning(model: nn.Module, progress: float, *, finetune: str, freeze_batchnorm: bool) -> None:
    """Let learn what learns at ``progress``, and fix the rest; ``freeze_batchnorm`` always fixes the backbone's."""
    found = list_parts(model)
    count = count_learning(finetune, progress, len(found))
    for i, modules in enumerate(found):
        for module in modules:
            module.requires_grad_(i < count).train(i < count)
    if freeze_batchnorm:
        for module in model.get_submodule("backbone").modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False).eval()
