"""The progress bar, and a line an epoch."""

import sys
import time

import torch
from torch import Tensor
from tqdm import tqdm

SHORT = {"accuracy": "acc", "map": "mAP"}  # on the bar


class Progress:
    """A bar over the whole training on a terminal, and a line an epoch everywhere."""

    def __init__(self, *, epochs: int, batches: int, batch_size: int, done: int, draw: bool) -> None:
        self.epochs, self.batches, self.batch_size = epochs, batches, batch_size
        self.drawn_at = 0.0
        self.bar = tqdm(
            total=epochs * batches,
            initial=done,
            disable=not (draw and sys.stderr.isatty()),
            dynamic_ncols=True,
            mininterval=0.5,
            bar_format="{percentage:3.0f}%|{bar}| {desc}  {elapsed} < {remaining}",
        )

    def due(self) -> bool:
        """True at most once a second."""
        now = time.monotonic()
        if now - self.drawn_at < 1.0:
            return False
        self.drawn_at = now
        return True

    def advance(self, epoch: int, shown: dict[str, float] | None) -> None:
        """Count a batch; `shown` renews the figures behind the bar."""
        self.bar.update(1)
        if shown is not None and not self.bar.disable:
            rate = self.bar.format_dict["rate"] or 0.0
            speed = f" {per_second(rate * self.batch_size)}" if rate else ""
            figures = " ".join(f"{SHORT.get(name, name)} {value:.3f}" for name, value in shown.items()) + speed
            self.bar.set_description_str(f"epoch {epoch + 1}/{self.epochs} {figures}", refresh=False)

    def line(self, row: dict[str, float]) -> None:
        """Print an epoch's figures; they stay above the bar."""
        parts = [f"epoch {row['epoch']:>3}/{self.epochs}", f"lr {row['lr']:.2g}"]
        for split in ("train", "val", "test"):
            named = {name: row[f"{split}/{name}"] for name in ("loss", "accuracy", "map") if f"{split}/{name}" in row}
            if named:
                parts.append(f"{split} " + " ".join(f"{SHORT.get(name, name)} {v:.4f}" for name, v in named.items()))
        parts += [per_second(row["images_per_second"]), f"{row['seconds']:.1f} s"]
        tqdm.write("  ".join(parts), file=sys.stderr)

    def close(self) -> None:
        self.bar.close()


def per_second(images: float) -> str:
    """Such as "967 img/s"; detectors on a CPU do less than one."""
    return f"{images:,.0f} img/s" if images >= 10 else f"{images:.2g} img/s"


class Glance:
    """Figures on their way from the device to the host; nobody waits for them."""

    def __init__(self, figures: dict[str, Tensor]) -> None:
        self.names = list(figures)
        values = torch.stack([figure.double() for figure in figures.values()])
        self.values = values.to("cpu", non_blocking=True)
        self.event = torch.cuda.Event() if values.is_cuda else None
        if self.event is not None:
            self.event.record()

    def read(self) -> dict[str, float] | None:
        """The figures, or None while they are not here."""
        if self.event is not None and not self.event.query():
            return None
        return dict(zip(self.names, self.values.tolist(), strict=True))
