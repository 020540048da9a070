"""Write and show the task's contact sheet after each validation."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ..files import write_atomic
from .loggers.base import RunLogger


class Pictures(Callback):
    """Write ``folder``/epoch_0001.png and so on after each validation, and pass it on to the loggers."""

    def __init__(self, folder: Path, loggers: Sequence[RunLogger]) -> None:
        self.folder, self.loggers = folder, loggers

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        make: Callable[[], Tensor | None] = pl_module.draw_contact_sheet  # type: ignore[assignment]
        sheet = make() if trainer.is_global_zero else None
        if sheet is None:
            return
        path = self.folder / f"epoch_{trainer.current_epoch + 1:04d}.png"
        self.folder.mkdir(exist_ok=True)
        png = io.BytesIO()
        to_pil_image(sheet).save(png, "PNG")
        write_atomic(path, png.getbuffer())
        for logger in self.loggers:
            logger.media("val/pictures", path, trainer.global_step)
