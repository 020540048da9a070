"""Open a trained run for inference: its network, its classes and how it sees an image, without its training data.

``open_predictor(path)`` is all that a command needs: ``read`` turns an image file into pixels, ``compute_logits`` and
``compute_probabilities`` turn a batch of these into numbers, in the arithmetic of the run's own test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from ..cli.compose import apply_overrides, to_train_config
from ..config.run import TrainConfig
from ..config.task import FindsObjects, Multilabel
from ..data.info import DatasetInfo, Normalization
from ..data.normalization import apply_affine, compute_affine
from ..errors import UserError
from ..files import read_json
from ..machine.hardware import resolve_hardware
from ..models.pretrained.reading import read_safetensors
from ..runs.results import is_number
from ..runs.stored import restore_config
from ..tasks.base import use_full_precision
from ..tasks.build import build_network
from ..tasks.classification import compute_scores
from ..training.assemble import THREADS
from ..training.checkpoints import Checkpoint, find_wrong_part, load_network
from ..training.reopen import HERE, reopen
from .preprocess import ReadImage, choose_reader, choose_side

TRUST = "trust.json"  # in a run directory: the temperature that makes its probabilities honest
HALF = 0.5  # the threshold of a multi-label network that had no validation to choose one


@dataclass(frozen=True)
class Predictor:
    """A trained network, ready for images.

    ``threshold`` decides the labels of a multi-label network, on its probabilities before the ``temperature``, by which
    logits are divided; without a fitted one it is 1, and ``calibrated`` is False.
    """

    path: Path  # of the checkpoint
    config: TrainConfig
    checkpoint: Checkpoint
    network: nn.Module  # in evaluation mode, on ``device``
    read: ReadImage
    normalization: Normalization
    classes: tuple[str, ...]
    channels: int
    side: int  # of the square images; of a detector, the shorter side [pixels]
    threshold: float
    temperature: float
    calibrated: bool
    device: torch.device

    @property
    def task(self) -> str:
        return self.config.task.name

    @property
    def detects(self) -> bool:
        """Tell whether it finds objects, each with a box, in place of naming the whole image."""
        return isinstance(self.config.task, FindsObjects)

    @property
    def has_labels(self) -> bool:
        """Tell whether an image may have several classes, or none."""
        return isinstance(self.config.task, Multilabel)

    def normalize(self, images: Sequence[Tensor]) -> Tensor:
        """Return what ``read`` gave for some images as a batch: float32 [B, (crops,) C, S, S], on the device."""
        together = torch.stack([image.movedim(-3, -1) for image in images]).to(self.device)
        affine = compute_affine(self.normalization, together.shape[-2], self.device)
        return apply_affine(together.flatten(0, -4), *affine).unflatten(0, together.shape[:-3])

    def compute_logits(self, images: Sequence[Tensor]) -> Tensor:
        """Return the logits of some images, float32 [B, C], as the run's own test computes them: in fp32, unfolded."""
        with torch.inference_mode(), use_full_precision(self.device):
            return compute_scores(self.network, self.normalize(images))

    def compute_probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities [B, C] of logits, at the temperature of the run; of labels each for itself."""
        scaled = logits / self.temperature
        return scaled.sigmoid() if self.has_labels else scaled.softmax(dim=1)

    def choose_labels(self, logits: Tensor) -> Tensor:
        """Return which labels an image has, bool [B, C], by the threshold that belongs to the weights."""
        return logits.sigmoid() >= self.threshold

    def find_objects(self, image: Tensor) -> dict[str, Tensor]:
        """Return boxes (corners), labels from 1, scores and perhaps masks of the objects in an image, on the CPU."""
        with torch.inference_mode(), use_full_precision(self.device):
            found = self.network([image.to(self.device)])[0]
        return {name: value.cpu() for name, value in found.items()}

    def describe_calibration(self) -> str:
        """Say in one sentence what the probabilities rest on; "" for a detector, which has scores."""
        if self.detects:
            return ""
        if self.calibrated:
            return f"Probabilities are calibrated: temperature {self.temperature:.3f}, fitted on validation ({TRUST})."
        return "Probabilities are not calibrated: no temperature was fitted for this run."


def open_predictor(path: Path, overrides: list[str] | None = None) -> Predictor:
    """Open a run directory or a checkpoint for inference; nothing of its data is read.

    `overrides` are settings typed beside run=, such as data.test_size=256 or trainer.accelerator=cpu. Raises UserError
    where there is no such run, where it is damaged, and for a wrong override.
    """
    if path.is_file() and path.suffix == ".safetensors":
        return open_exported(path, overrides or [])
    try:
        run = reopen(path, overrides)
    except UserError as error:
        if path.is_file() and path.suffix != ".ckpt":
            raise explain_weights(path) from error
        raise
    return build_predictor(run.path, run.checkpoint, run.config)


def open_exported(path: Path, overrides: list[str]) -> Predictor:
    """Open a safetensors file that src.export has written, which has the run's settings in it."""
    try:
        content = read_safetensors(path)
    except Exception as error:  # of safetensors, of json, or of the system
        raise UserError(f"{path}: damaged, or no safetensors file ({error})") from None
    parts = ("config", "info", "normalization")
    if "state_dict" not in content or any(not isinstance(content.get(name), dict) for name in parts):
        raise explain_weights(path)
    if wrong := find_wrong_part(content):
        raise UserError(f"{path}: damaged, or not written by us ({wrong})")
    checkpoint = cast(Checkpoint, content)
    composed = cast(DictConfig, OmegaConf.merge(restore_config(checkpoint["config"], path), HERE))
    return build_predictor(path, checkpoint, to_train_config(apply_overrides(composed, overrides)))


def explain_weights(path: Path) -> UserError:
    """Return the error for weights that do not say their network, their classes and how pixels are scaled."""
    return UserError(
        f"run={path}: no checkpoint of ours, so it does not say its network, classes and preprocessing; measure it "
        f"once, which writes a run directory: python -m src.evaluate model=… data=… weights={path}"
    )


def build_predictor(path: Path, checkpoint: Checkpoint, config: TrainConfig) -> Predictor:
    """Build the network of a checkpoint with its weights, on this machine's device."""
    torch.set_num_threads(config.trainer.threads or THREADS)
    accelerator, *_ = resolve_hardware(config.trainer)
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    stored, normalization = checkpoint["info"], checkpoint["normalization"]
    classes, channels = tuple(stored["classes"]), stored["channels"]
    side = choose_side(config.data, config.task, cast(dict[str, Any], stored).get("image_size"))
    check_mean_image(normalization, side)
    mean, std = (tuple(normalization["mean"]), tuple(normalization["std"]))
    info = DatasetInfo(config.data.name, classes, channels, side, mean, std)
    network = build_network(config, info, normalization)
    load_network(network, checkpoint, path)
    network.to(device).eval().requires_grad_(False)
    if config.trainer.channels_last:
        network.to(memory_format=torch.channels_last)
    carried = cast(dict[str, object], checkpoint).get("temperature")  # in a file that src.export has written
    temperature = carried if isinstance(carried, float) and carried > 0 else read_temperature(path)
    threshold = checkpoint.get("threshold")
    return Predictor(
        path=path,
        config=config,
        checkpoint=checkpoint,
        network=network,
        read=choose_reader(config.data, config.task, side=side, channels=channels),
        normalization=normalization,
        classes=classes,
        channels=channels,
        side=side,
        threshold=HALF if threshold is None else float(threshold),
        temperature=1.0 if temperature is None else temperature,
        calibrated=temperature is not None,
        device=device,
    )


def check_mean_image(normalization: Normalization, side: int) -> None:
    """Raise UserError where the run subtracts a mean image of another size than the images have."""
    mean_image = normalization["mean_image"]
    if mean_image is not None and len(mean_image) != side:
        raise UserError(
            f"data.image_size={side}: the run subtracts a mean image of {len(mean_image)} pixels a side; "
            f"leave data.image_size={len(mean_image)}"
        )


def find_run_directory(checkpoint: Path) -> Path:
    """Return the run directory of a checkpoint, or the folder of a file that lies elsewhere."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder.name == "checkpoints" else folder


def read_temperature(checkpoint: Path) -> float | None:
    """Return the temperature that was fitted for these weights on validation; None where none was.

    Raises UserError where its file is damaged.
    """
    file = find_run_directory(checkpoint) / TRUST
    content = read_json(file, "delete it, and the probabilities are not calibrated")
    if content is None or content.get("temperature") is None:
        return None
    if content.get("checkpoint", checkpoint.name) != checkpoint.name:  # of best.ckpt, and this is last.ckpt
        return None
    temperature = content["temperature"]
    if not is_number(temperature) or not temperature > 0:
        raise UserError(f"{file}: damaged (temperature is no number above 0); delete it, or fit it again")
    return float(temperature)
