"""Build Lightning's Trainer from the configuration."""

import logging
import warnings
from collections.abc import Sequence

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from ..config.run import TrainConfig
from ..machine import ranks
from .checkpoints import AtomicCheckpointIO

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def build_trainer(
    config: TrainConfig, *, callbacks: Sequence[Callback] = (), loggers: Sequence[Logger] = ()
) -> Trainer:
    """Build a Trainer that leaves order, augmentation, learning rate, averaging, metrics and checkpoints to us.

    Without `callbacks` nothing is saved.
    """
    quiet_lightning()
    # off, for this debugging aid takes 5 % of a ResNet-20's step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = config.trainer
    rank = ranks.find_rank() if trainer.world > 1 else None
    return Trainer(
        accelerator=trainer.accelerator,
        devices=trainer.devices or 1,
        num_nodes=trainer.num_nodes,
        strategy=trainer.strategy,
        precision=PRECISION[trainer.precision],  # type: ignore[arg-type]
        max_epochs=trainer.max_epochs,
        accumulate_grad_batches=trainer.accumulate,
        # Lightning counts the accumulated parts, people the batches of a step
        limit_train_batches=trainer.limit_train_batches and trainer.limit_train_batches * trainer.accumulate,
        limit_val_batches=trainer.limit_val_batches,
        limit_test_batches=trainer.limit_test_batches,
        deterministic="warn" if trainer.deterministic else False,
        detect_anomaly=trainer.detect_anomaly,
        callbacks=list(callbacks),
        logger=list(loggers) or False,
        # named here, for Lightning would guess from programs and variables who has started the processes
        plugins=[AtomicCheckpointIO(), rank.find_environment() if rank else LightningEnvironment()],
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,  # an epoch's order is drawn from its number
        log_every_n_steps=0,  # a step logs nothing
    )


def quiet_lightning() -> None:
    """Silence what Lightning says about itself, and the warnings that are about its own code."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*Total length of `list` across ranks is zero.*",  # without validation there is no loader for it
        ".*module\\(s\\) in eval mode at the start of training.*",  # finetune= means it
        ".*The `srun` command is available.*",  # a login node; what goes to SLURM goes through hydra/launcher=slurm
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own use of an old name in torch
    ):
        warnings.filterwarnings("ignore", message=message)
