"""Tasks: what is learned, its loss and its metrics, as LightningModules."""

from functools import partial
from typing import TYPE_CHECKING

from src.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from src.data.info import DatasetInfo
    from src.tasks.classification import ClassificationTask


def build_task(config: TrainConfig, model: "nn.Module", info: "DatasetInfo") -> "ClassificationTask":
    """The LightningModule that trains this network on this data as the configuration says."""
    from src.finetune import set_learning
    from src.optim import build_optimizer, plateau, rate_at
    from src.tasks.classification import ClassificationTask

    optim, finetune = config.optim, config.finetune
    learn = partial(set_learning, finetune=finetune.name, freeze_batchnorm=finetune.freeze_batchnorm)
    follows_validation = optim.schedule == "plateau"
    monitored = (("val",) if config.data.val_fraction > 0 else ()) + (("test",) if config.monitor_test else ())
    return ClassificationTask(
        model=model,
        num_classes=info.num_classes,
        optimizer=partial(build_optimizer, optim, backbone_lr=finetune.backbone_lr, fused=finetune.name != "gradual"),
        rate=None if follows_validation else partial(rate_at, optim),
        plateau=partial(plateau, optim) if follows_validation else None,
        label_smoothing=config.task.label_smoothing,
        monitored=monitored,
        seed=config.seed,
        learn=learn if finetune.name != "full" or finetune.freeze_batchnorm else None,
    )
