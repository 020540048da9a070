"""Write and show the task's contact sheets: after each validation, and after the final test."""

import io
from collections.abc import Sequence
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from ..files import write_atomic
from .loggers.base import RunLogger


class Pictures(Callback):
    """Write ``folder``/epoch_0001.png and so on, and test.png, and pass them on to the loggers."""

    def __init__(self, folder: Path, loggers: Sequence[RunLogger]) -> None:
        self.folder, self.loggers = folder, loggers

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            sheet: Tensor | None = pl_module.draw_contact_sheet()  # type: ignore[operator]
            self.show(sheet, f"epoch_{trainer.current_epoch + 1:04d}.png", "val/pictures", trainer.global_step)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            sheet: Tensor | None = pl_module.draw_test_sheet()  # type: ignore[operator]
            self.show(sheet, "test.png", "test/pictures", trainer.global_step)

    def show(self, sheet: Tensor | None, file: str, name: str, step: int) -> None:
        """Write a sheet uint8 [3, H, W], if there is one, and pass it on under this name."""
        if sheet is None:
            return
        self.folder.mkdir(exist_ok=True)
        png = io.BytesIO()
        to_pil_image(sheet).save(png, "PNG")
        write_atomic(self.folder / file, png.getbuffer())
        for logger in self.loggers:
            logger.media(name, self.folder / file, step)
