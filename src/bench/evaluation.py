"""Compare f: an epoch's validation against an fp32 evaluation."""

import copy
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from ..errors import UserError
from ..metrics.confusion import find_cells
from ..runs.stored import find_checkpoint
from ..training.checkpoints import extract_network_weights, load_checkpoint
from .images import load_cifar
from .ours import BATCH, Training
from .peers import bare
from .rounds import Comparison
from .settings import Settings

EVAL_BATCHES = (128, 512, 1000)  # the ratio changes where fp32's activations grow beyond what malloc keeps


def compare_with_fp32(settings: Settings) -> list[Comparison]:
    """f. Compare the validation of each epoch with the same network in fp32 and torch's own memory format."""
    raw, note = load_cifar(settings.data_root)
    images, val = 7 * settings.images, min(5000, settings.images)
    ours = Training(raw, "optim=sgd_onecycle", model="resnet20", images=images, val=val)
    if settings.run:
        trained = f"as {settings.run} left it"
        load_run_weights(ours, Path(settings.run))
    else:
        trained = f"after an epoch of {images:,} images"
        ours.epoch()
    plain = copy.deepcopy(ours.model).to(memory_format=torch.contiguous_format)
    inputs = torch.cat([batch.contiguous() for batch, _, _ in ours.data.eval_loader("val")])
    predicted, expected = collect_predictions(ours), bare.predict(plain, inputs.split(BATCH))
    labels = ours.data.eval_loader("val").labels
    agree, accuracy = ((predicted == other).double().mean() for other in (expected, labels))
    checked = f"{trained} (accuracy {accuracy:.1%}), top-1 agrees on {agree:.2%} (target 99.5 %)"

    def make_comparison(batch_size: int) -> Comparison:
        def validate() -> float:
            ours.data.eval_batch_size = batch_size
            return val / ours.validate().validation

        def evaluate_fp32() -> float:
            began = time.perf_counter()
            bare.predict(plain, inputs.split(batch_size))
            return val / (time.perf_counter() - began)

        return Comparison(
            f"f. ResNet-20, the validation of {val:,} images in batches of {batch_size}",
            "images/s",
            {f"ours ({ours.config.trainer.precision})": validate, "fp32, NCHW": evaluate_fp32},
            {"fp32, NCHW": 4.0},
            notes=[note, checked],
        )

    return [make_comparison(size) for size in EVAL_BATCHES]


def load_run_weights(ours: Training, run: Path) -> None:
    """Load the network of a run into a training, with the normalisation of its images."""
    path = find_checkpoint(run)
    checkpoint = load_checkpoint(path)
    stored = checkpoint["config"]
    if (stored["model"]["name"], stored["data"]["name"]) != ("resnet20", "cifar10"):
        raise UserError(
            f"run={run}: {stored['model']['name']} on {stored['data']['name']}, not resnet20 on cifar10; "
            "type another run=…"
        )
    ours.model.load_state_dict(extract_network_weights(checkpoint))
    ours.data.normalization = checkpoint["normalization"]


def collect_predictions(ours: Training) -> Tensor:
    """Return the classes int64 [N] that a validation predicts; it keeps only counts, so its function is replaced."""
    caught = []

    def catch(logits: Tensor, labels: Tensor) -> Tensor:
        caught.append(logits.argmax(dim=1))
        return find_cells(logits, labels)

    with patch("src.tasks.classification.find_cells", catch):
        ours.validate()
    return torch.cat(caught)
