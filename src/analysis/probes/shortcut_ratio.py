"""How much each residual block changes what passes it: the norm of F(x) beside that of its shortcut."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...models.blocks import ResidualBlock
from .base import Drawn, Found, NotApplicableError, Options, Probe, Subject
from .canvas import choose_look, make_panels, set_log
from .layers import watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@torch.no_grad()
def compute(subject: Subject, options: Options, part: str) -> Found:
    """Return the mean over the images of ‖F(x)‖ / ‖shortcut(x)‖ of each block."""
    blocks = {name: module for name, module in subject.network.named_modules() if isinstance(module, ResidualBlock)}
    blocks = {name: block for name, block in blocks.items() if block.shortcut is not None}
    if not blocks:
        raise NotApplicableError(f"{subject.label}: has no shortcuts around its blocks")
    norms: dict[str, Tensor] = {}
    wanted = {f"{name}.{part}" for name in blocks for part in ("drop", "shortcut")}

    def visit(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if name in wanted:
            norms[name] = y.flatten(1).norm(dim=1)

    with watch(subject.network, visit):
        subject.network(subject.images)
    rows = []
    for number, name in enumerate(blocks, 1):
        ratio = norms[f"{name}.drop"] / norms[f"{name}.shortcut"].clamp(min=1e-30)
        branch, way = (float(norms[f"{name}.{part}"].mean()) for part in ("drop", "shortcut"))
        rows.append({"block": name, "depth": number, "ratio": float(ratio.mean()), "branch": branch, "shortcut": way})
    return Found(rows)


def draw(drawn: Sequence[Drawn], options: Options) -> "Canvas":
    """Draw a line for each network and point of training."""
    titles = [each.title for each in drawn]
    canvas, (panel,) = make_panels(1)
    for each in drawn:
        colour, line = choose_look(each.title, titles)
        depth, ratio = each.column("depth"), each.column("ratio")
        panel.plot(depth, ratio, line, color=colour, label=each.title, marker=".", linewidth=1.2)
    panel.set(xlabel="block", ylabel="‖F(x)‖ / ‖x‖")
    set_log(panel)
    panel.legend(frameon=False)
    return canvas


PROBE = Probe(
    name="shortcut_ratio",
    title="What blocks add",
    caption="The norm of F(x) of each residual block, divided by that of what passes its shortcut; means over images.",
    options=Options,
    compute=compute,
    draw=draw,
)
