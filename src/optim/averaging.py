"""Keep the moving average of the weights."""

from itertools import chain

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Averaging(WeightAveraging):
    """Keep the exponential moving average of the weights, without waiting for the device.

    Lightning's own callback reads a counter on the device twice a step, and so waits for it.
    """

    def __init__(self, decay: float) -> None:
        self.average = get_ema_multi_avg_fn(decay)
        super().__init__(multi_avg_fn=self.average)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        averaged = self._average_model
        if averaged is None or self._latest_update_step == 0:  # the first update copies the weights
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        elif trainer.global_step > self._latest_update_step:
            self._latest_update_step = trainer.global_step
            both = zip(*(chain(m.parameters(), m.buffers()) for m in (averaged.module, pl_module)), strict=True)
            pairs = [(mine.detach(), current.detach()) for mine, current in both]
            for kind in {mine.dtype for mine, _ in pairs}:
                mine, current = zip(*(pair for pair in pairs if pair[0].dtype == kind), strict=True)
                self.average(mine, current, averaged.n_averaged)
            averaged.n_averaged += 1
