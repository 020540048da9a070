"""Find a learning rate by a range test (Smith 2017): ``optim.lr=find``.

The learning rate rises exponentially, step by step, until the loss explodes; the one where the
smoothed loss falls most is taken, not the one where it is lowest, which is close to too much. The test is a pure
function of the settings and the seed, and its outcome is kept below the output root, so that the same command names
the same run.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ..cli.console import say
from ..config.run import TrainConfig
from ..errors import UserError
from ..files import read_json, write_atomic, write_json
from ..tasks.table import find_task_row
from .settle import settle

if TYPE_CHECKING:
    from torch import Tensor

    from .assemble import Assembly

FOLDER = "lr_find"  # below the output root
STEPS = 100
FIRST, LAST = 1e-6, 10.0
SMOOTH = 0.9  # of the loss, a step
EXPLODED = 4.0  # times the lowest loss
WINDOW = 12  # steps, over which a fall of the loss is measured


def find_learning_rate(config: TrainConfig) -> tuple[TrainConfig, list[Path]]:
    """Return the configuration with the learning rate of a range test, and its picture and table.

    Raises UserError where the test cannot be made, or finds none.
    """
    plain = replace(config, optim=replace(config.optim, find_lr=False))
    settled = settle(plain)
    if settled.config.trainer.world > 1:
        raise UserError("optim.lr=find: the range test runs on one device; set optim.lr=… for several")
    if config.optim.schedule == "plateau":
        raise UserError("optim.lr=find: is for schedules of progress, not for optim.schedule=plateau")
    folder = Path(config.output_root, FOLDER, settled.hash)
    files = [folder / "lr_find.png", folder / "lr_find.csv"]
    found = read_json(folder / "lr_find.json", "delete it, and the range test is made again")
    if found is None or not isinstance(found.get("lr"), float) or not all(file.is_file() for file in files):
        from .assemble import assemble

        say("optim.lr=find: a range test …")
        rates, losses = run_range_test(assemble(settled))
        lr = choose_rate(rates, losses)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(files[1], rates, losses)
        draw_range_test(files[0], rates, losses, lr)
        write_json(folder / "lr_find.json", {"lr": lr, "steps": len(rates)})
        found = {"lr": lr}
    say(f"optim.lr=find: {found['lr']:g} (lr_find.png shows why)")
    return replace(plain, optim=replace(plain.optim, lr=float(found["lr"]))), files


def run_range_test(assembly: "Assembly") -> tuple[list[float], list[float]]:
    """Train for some steps with a rising learning rate, and return the learning rates and the losses."""
    import torch

    from ..optim.schedule import set_learning_rate
    from .assemble import prepare_network

    trainer, task = assembly.config.trainer, assembly.task
    if not find_task_row(assembly.config.task.name).alike:
        raise UserError(f"optim.lr=find: is for classifiers, not for task={assembly.config.task.name}")
    device = "cuda" if trainer.accelerator == "gpu" else "cpu"
    prepare_network(assembly.config, assembly.network)
    task.to(device).train()
    if task.learn is not None:
        task.learn(task.model, 1.0)  # what learns in the end
    optimizer = task.build_optimizer(task.model)
    rates: list[float] = []
    losses: list[float] = []
    for number, batch in zip(range(STEPS), endless_batches(assembly, device), strict=False):
        lr = FIRST * (LAST / FIRST) ** (number / (STEPS - 1))
        set_learning_rate(optimizer, lr)
        with torch.autocast(device, torch.bfloat16, enabled=trainer.precision == "bf16"):
            loss = task.compute(*batch)[0]
        value = float(loss.detach())
        if not math.isfinite(value):
            break
        rates.append(lr)
        losses.append(value)
        if number > WINDOW and value > EXPLODED * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rates, losses


def endless_batches(assembly: "Assembly", device: str) -> "Iterator[tuple[Tensor, ...]]":
    """Yield training batches of one epoch after the other."""
    for epoch in count():
        yield from assembly.data.train_loader(device, epoch=epoch)


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving average of the losses, without its bias towards zero."""
    mean, smoothed = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        smoothed.append(mean / (1 - SMOOTH**number))
    return smoothed


def choose_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the learning rate amid the window of steps in which the smoothed loss falls most, with two digits.

    Raises UserError where the loss never fell.
    """
    smoothed = smooth(losses)
    falls = [smoothed[k] - smoothed[k + WINDOW] for k in range(len(smoothed) - WINDOW)]
    if not falls or max(falls) <= 0:
        raise UserError("optim.lr=find: the loss does not fall in the range test; set optim.lr=… yourself")
    return float(f"{rates[falls.index(max(falls)) + WINDOW // 2]:.2g}")


def write_table(path: Path, rates: Sequence[float], losses: Sequence[float]) -> None:
    """Write the range test as CSV."""
    text = io.StringIO(newline="")
    rows = zip(rates, losses, smooth(losses), strict=True)
    csv.writer(text).writerows(
        [("lr", "loss", "smoothed"), *((f"{a:.4g}", f"{b:.6g}", f"{c:.6g}") for a, b, c in rows)]
    )
    write_atomic(path, text.getvalue().encode())


def draw_range_test(path: Path, rates: Sequence[float], losses: Sequence[float], lr: float) -> None:
    """Draw loss over learning rate, and mark the one that is taken."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.75", label="loss of a batch")
    axes.plot(rates, smooth(losses), color="tab:blue", label="smoothed")
    axes.axvline(lr, color="tab:red", linestyle="--", label=f"taken: {lr:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Range test")
    axes.set_ylim(0.9 * min(losses), min(max(losses), 2.5 * losses[0]))
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_atomic(path, content.getbuffer())
