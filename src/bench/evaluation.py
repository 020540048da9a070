"""f: an epoch's validation against an fp32 evaluation."""

import copy
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from ..errors import UserError
from ..metrics.confusion import cells_of
from ..runs.stored import find_checkpoint
from ..training.checkpoints import load_checkpoint, network_weights
from .images import cifar
from .ours import BATCH, Training
from .peers import bare
from .rounds import Comparison
from .settings import Settings

EVAL_BATCHES = (128, 512, 1000)  # the ratio depends on where fp32's activations pass what malloc keeps


def against_fp32_evaluation(settings: Settings) -> list[Comparison]:
    """f. The validation of each epoch, against the same network in fp32 and torch's own memory format."""
    raw, note = cifar(settings.data_root)
    images, val = 7 * settings.images, min(5000, settings.images)
    ours = Training(raw, "optim=sgd_onecycle", model="resnet20", images=images, val=val)
    if settings.run:
        trained = f"as {settings.run} left it"
        take(ours, Path(settings.run))
    else:
        trained = f"after an epoch of {images:,} images"
        ours.epoch()
    plain = copy.deepcopy(ours.model).to(memory_format=torch.contiguous_format)
    inputs = torch.cat([batch.contiguous() for batch, _, _ in ours.data.eval_loader("val")])
    predicted, expected = predictions(ours), bare.predict(plain, inputs.split(BATCH))
    labels = ours.data.eval_loader("val").labels
    agree, accuracy = ((predicted == other).double().mean() for other in (expected, labels))
    checked = f"{trained} (accuracy {accuracy:.1%}), top-1 agrees on {agree:.2%} (target 99.5 %)"

    def of_size(batch_size: int) -> Comparison:
        def validation() -> float:
            ours.data.eval_batch_size = batch_size
            return val / ours.validate().validation

        def fp32() -> float:
            began = time.perf_counter()
            bare.predict(plain, inputs.split(batch_size))
            return val / (time.perf_counter() - began)

        return Comparison(
            f"f. ResNet-20, the validation of {val:,} images in batches of {batch_size}",
            "images/s",
            {f"ours ({ours.config.trainer.precision})": validation, "fp32, NCHW": fp32},
            {"fp32, NCHW": 4.0},
            notes=[note, checked],
        )

    return [of_size(size) for size in EVAL_BATCHES]


def take(ours: Training, run: Path) -> None:
    """Give a training the network of a run, and the scaling of its images."""
    path = find_checkpoint(run)
    checkpoint = load_checkpoint(path)
    stored = checkpoint["config"]
    if (stored["model"]["name"], stored["data"]["name"]) != ("resnet20", "cifar10"):
        raise UserError(f"run={run}: {stored['model']['name']} on {stored['data']['name']}, not resnet20 on cifar10")
    ours.model.load_state_dict(network_weights(checkpoint))
    ours.data.normalization = checkpoint["normalization"]


def predictions(ours: Training) -> Tensor:
    """The classes int64 [N] that a validation predicts; it keeps only counts, so these are caught on their way."""
    caught = []

    def catching(logits: Tensor, labels: Tensor) -> Tensor:
        caught.append(logits.argmax(dim=1))
        return cells_of(logits, labels)

    with patch("src.tasks.classification.cells_of", catching):
        ours.validate()
    return torch.cat(caught)
