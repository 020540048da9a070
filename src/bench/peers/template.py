"""Train as the common Lightning template: a DataLoader over PIL transforms, fp32, every figure logged at each step.

Nothing here is made slow on purpose: it is what most projects start from, with the worker count that is best on the
machine (`src.bench` tries them) and workers that live on from epoch to epoch.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchvision import transforms

Sample = tuple[Tensor, int]


Transform = Callable[[Image.Image], Tensor]


class Images(Dataset[Sample]):
    """Images as in torchvision.datasets.CIFAR10: each sample becomes a PIL image and goes through the transforms."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Transform) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Sample:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def make_train_transform(mean: tuple[float, ...], std: tuple[float, ...], size: int = 32) -> Transform:
    """Make He et al.'s augmentation: four pixels of padding, a random crop, a flip."""
    return transforms.Compose(
        [
            transforms.RandomCrop(size, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def make_test_transform(mean: tuple[float, ...], std: tuple[float, ...]) -> Transform:
    """Make the conversion and normalisation of images that are not augmented."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])


class Classifier(LightningModule):
    """A classifier that logs loss, accuracy and macro F1 at each step and for the epoch, and on the bar."""

    def __init__(self, net: nn.Module, *, classes: int, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__()
        self.net = net
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.train_f1 = MulticlassF1Score(classes)
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")
        self.val_f1 = MulticlassF1Score(classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.train_accuracy(logits, labels)
        self.train_f1(logits, labels)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.train_accuracy, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/f1", self.train_f1, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self(images)
        self.val_accuracy(logits, labels)
        self.val_f1(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels), prog_bar=True)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)
        self.log("val/f1", self.val_f1, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


def make_loader(
    dataset: Dataset[Sample], *, batch_size: int, train: bool, workers: int, pin: bool = False
) -> DataLoader[Sample]:
    """Make a loader that shuffles for training and whose workers, if any, stay between epochs."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=train,
        drop_last=train,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


def fit(
    module: Classifier,
    train: DataLoader[Sample],
    val: DataLoader[Sample],
    *,
    folder: Path,
    clock: Callback,
    accelerator: str = "cpu",
) -> None:
    """Train one epoch with its validation; ``clock`` sees the callbacks' hooks first."""
    trainer = Trainer(
        accelerator=accelerator,
        max_epochs=1,
        logger=CSVLogger(folder),
        log_every_n_steps=50,
        callbacks=[
            clock,
            TQDMProgressBar(),
            ModelCheckpoint(monitor="val/accuracy", mode="max", save_last=True),
        ],
        enable_model_summary=False,
    )
    trainer.fit(module, train, val)
