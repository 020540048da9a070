"""Watch over the other processes that train the same run, and end with the first of them that is lost."""

import os

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment

from ..cli.console import say
from ..machine.heartbeat import Heartbeat


class Companions(Callback):
    """Start this rank's heartbeat when the processes have met, and end the rank where another one is lost."""

    def __init__(self) -> None:
        self.heartbeat: Heartbeat | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size == 1 or self.heartbeat is not None:
            return

        environment = getattr(trainer.strategy, "cluster_environment", None)

        def end_process(sentence: str) -> None:
            say(sentence)
            for process in getattr(trainer.strategy.launcher, "procs", []):
                process.kill()  # one that is stopped would stay
            # the main thread may wait for the lost rank, and nothing can wake it; a child that ends in an error would
            # have Lightning kill rank 0, which is to tell of the loss
            os._exit(0 if is_child else 1)

        is_child = not trainer.is_global_zero and isinstance(environment, LightningEnvironment)
        address = os.environ["MASTER_ADDR"]
        heartbeat = Heartbeat(trainer.global_rank, trainer.world_size, end_process)
        place = heartbeat.listen(address) if trainer.is_global_zero else (0, "")
        port, token = trainer.strategy.broadcast(place)
        if not trainer.is_global_zero:
            heartbeat.join(address, port, token)
        self.heartbeat = heartbeat

    def end(self, reason: str = "") -> None:
        """End the heartbeat; with a reason, this rank has failed, and the others end with it."""
        if self.heartbeat is not None:
            self.heartbeat.end(reason)

    def blame_lost(self) -> None:
        """End this process where an error is the consequence of another rank's end, which is known a moment later."""
        if self.heartbeat is not None:
            self.heartbeat.wait_for_loss()
