"""Write a trained classifier for other programs, and compare what they compute with the run on real images.

A file that differs by more than ``TOLERANCE``, relative to the largest number of the run, does not stay.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import Json
from ..models.pretrained.reading import read_weights
from ..models.pretrained.weights import load_weights
from ..runs.identity import to_plain
from ..tasks.build import build_network
from .names import build_theirs, rename_tensors
from .network import Predictor

TOLERANCE = 1e-4
FILES = {
    "onnx": "model.onnx",
    "torch_export": "model.pt2",
    "safetensors": "model.safetensors",
    "torchvision": "model_torchvision.pth",
    "timm": "model_timm.safetensors",
}
GRAPHS = ("onnx", "torch_export")  # formats with the arithmetic, not the tensors alone
OPSET = 18

Compute = Callable[[Tensor], Tensor]


class Ready(nn.Module):
    """Take bytes [N, C, S, S], resized and cropped, and give probabilities, with the run's scaling and temperature."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, predictor: Predictor) -> None:
        super().__init__()
        self.network = network
        self.labels = predictor.has_labels
        self.temperature = predictor.temperature
        stored = predictor.normalization
        mean, std = (torch.tensor(stored[name], dtype=torch.float64).view(-1, 1, 1) for name in ("mean", "std"))
        image = stored["mean_image"]
        shift = -image.cpu().permute(2, 0, 1) if image is not None else (-mean / std).float()
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", shift)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images.float() * self.scale + self.shift) / self.temperature
        return logits.sigmoid() if self.labels else logits.softmax(dim=1)


@dataclass(frozen=True)
class Exported:
    """A file that was written, how far what it computes is from the run, and by what that was measured."""

    path: Path
    difference: float
    images: int
    by: str


def export(predictor: Predictor, images: Sequence[Tensor], folder: Path, *, kind: str, preprocess: bool) -> Exported:
    """Write one format into a folder, and check it on real images as ``predictor.read`` gives them.

    Raises UserError for what this format cannot hold, and where the file computes something else; it is removed then.
    """
    refuse(predictor, kind, preprocess)
    network = copy.deepcopy(predictor.network).cpu().to(memory_format=torch.contiguous_format).eval()
    module = Ready(network, predictor) if preprocess else network
    single = [image[0] if image.ndim == 4 else image for image in images]  # of ten crops, the first
    given = torch.stack(single) if preprocess else predictor.normalize(single).cpu().contiguous()
    logits = predictor.compute_logits(single).cpu()
    expected = predictor.compute_probabilities(logits) if preprocess else logits
    path, scratch = folder / FILES[kind], folder / f".{FILES[kind]}.tmp{Path(FILES[kind]).suffix}"
    metadata = describe_network(predictor, preprocess)
    try:
        with quiet():
            compute, by = WRITERS[kind](scratch, module.eval(), given, predictor, metadata)
            found = [compute(given), compute(given[:1])]  # the batch is of any size
        difference = max(measure_difference(found[0], expected), measure_difference(found[1], expected[:1]))
        if not difference <= TOLERANCE:
            raise UserError(
                f"format={kind}: what was written differs from the run by {difference:.1e} on {len(given)} real images "
                f"(relative to the largest), more than {TOLERANCE:.0e}; it was removed"
            )
        scratch.replace(path)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
    return Exported(path, difference, len(given), by)


def refuse(predictor: Predictor, kind: str, preprocess: bool) -> None:
    """Raise UserError for what a format cannot hold."""
    if predictor.detects:
        raise UserError(
            f"run={predictor.path}: only classifiers are exported; a detector decides while it runs how many boxes it "
            "keeps (proposals, non-maximum suppression), which torchvision's export does not support for batches. Use "
            "it by src.predict, or its checkpoint as it is"
        )
    if preprocess and kind not in GRAPHS:
        raise UserError(f"format={kind} preprocess=true: holds tensors alone; use format={' or '.join(GRAPHS)}")


def measure_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected number."""
    if found.shape != expected.shape or not found.isfinite().all():
        return float("inf")
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def describe_network(predictor: Predictor, preprocess: bool) -> dict[str, str]:
    """Return what a user of a file must know, as text by name."""
    stored = predictor.normalization
    described: Json = {
        "classes": list(predictor.classes),
        "task": predictor.task,
        "model": predictor.config.model.name,
        "input": "uint8 [N, C, S, S]" if preprocess else "float32 [N, C, S, S], normalised",
        "output": "probabilities" if preprocess else "logits",
        "channels": predictor.channels,
        "side": predictor.side,
        "mean": stored["mean"],
        "std": stored["std"],
        "normalize": stored["name"],
        "temperature": predictor.temperature,
        "calibrated": predictor.calibrated,
        **({"threshold": predictor.threshold} if predictor.has_labels else {}),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}


@contextmanager
def quiet() -> Any:
    """Silence what the exporters say of themselves; whatever goes wrong is raised."""
    names = ("torch.onnx", "onnxscript", "torch.export", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def write_onnx(
    path: Path, module: nn.Module, given: Tensor, predictor: Predictor, metadata: dict[str, str]
) -> tuple[Compute, str]:
    """Write an ONNX file whose batch is of any size; return how onnxruntime computes it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"format=onnx: needs {error.name}; pip install 'deep-residual-learning[export]'") from None
    program = torch.onnx.export(
        module,
        (widen_batch(given),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"],
        output_names=[metadata["output"]],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return compute, f"onnxruntime {onnxruntime.__version__}"


def write_torch_export(
    path: Path, module: nn.Module, given: Tensor, predictor: Predictor, metadata: dict[str, str]
) -> tuple[Compute, str]:
    """Write torch's exported program, whose batch is of any size; return what is read back."""
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (widen_batch(given),), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(metadata)})
    return torch.export.load(path).module(), f"torch {torch.__version__.partition('+')[0]}"


def widen_batch(images: Tensor) -> Tensor:
    """Return at least two images, for a batch of one would be taken for a constant."""
    return images[:4] if len(images) > 1 else images.repeat(2, *[1] * (images.ndim - 1))


def write_safetensors(
    path: Path, module: nn.Module, given: Tensor, predictor: Predictor, metadata: dict[str, str]
) -> tuple[Compute, str]:
    """Write the tensors under our names, with the run's settings, so that run=<this file> opens it."""
    from safetensors.torch import save_file

    stored = dict(predictor.normalization)
    if predictor.normalization["mean_image"] is not None:
        stored["mean_image"] = predictor.normalization["mean_image"].tolist()
    run = {
        "config": hide_places(to_plain(predictor.config)),
        "info": {"classes": list(predictor.classes), "channels": predictor.channels, "image_size": predictor.side},
        "normalization": stored,
        "threshold": predictor.checkpoint.get("threshold"),
        "temperature": predictor.temperature if predictor.calibrated else None,
    }
    save_file(copy_tensors(module), path, {"format": "pt", **metadata, "run": json.dumps(run)})
    return read_back(path, predictor), "our own loader"


def hide_places(config: Json) -> Json:
    """Return a plain configuration without what says where files lie on a machine."""
    data = {name: None if name.endswith(("_json", "_images")) else value for name, value in config["data"].items()}
    data["root"] = "data"
    model = config["model"] | {"weights": None, "weights_sha256": ""}
    return config | {"data": data, "model": model, "output_root": "outputs", "logger": {}}


def write_foreign(library: str) -> Callable[..., tuple[Compute, str]]:
    """Return what writes the tensors under the names of a library, and reads them back."""

    def write(
        path: Path, module: nn.Module, given: Tensor, predictor: Predictor, metadata: dict[str, str]
    ) -> tuple[Compute, str]:
        state = rename_tensors(copy_tensors(module), predictor.config.model, library)
        if library == "timm":
            from safetensors.torch import save_file

            save_file(state, path, {"format": "pt", **metadata})
        else:
            torch.save(state, path)
        ours = read_back(path, predictor)
        try:
            theirs = build_theirs(state, predictor.config.model, library, len(predictor.classes))
        except RuntimeError:  # a network of this name with other parts, or for other channels
            theirs = None
        if theirs is None:
            return ours, f"our own loader ({library} has no such network)"

        def compute(images: Tensor) -> Tensor:
            with torch.inference_mode():
                found = ours(images), theirs(images)
            return torch.where((found[0] - found[1]).abs() > TOLERANCE * found[0].abs().max(), torch.nan, found[1])

        return compute, f"our own loader and {library}'s network"

    return write


def copy_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network, each in memory of its own, which safetensors asks for."""
    return {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}


def read_back(path: Path, predictor: Predictor) -> Compute:
    """Return what a fresh network computes with the tensors of a file, read as model.weights= does."""
    from ..data.info import DatasetInfo

    stored = predictor.normalization
    mean, std = tuple(stored["mean"]), tuple(stored["std"])
    info = DatasetInfo("", predictor.classes, predictor.channels, predictor.side, mean, std)
    network = build_network(predictor.config, info, stored)
    note = load_weights(network, read_weights(path), path=path, classes=predictor.classes)
    assert "fresh" not in note, note
    network.eval()

    def compute(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = network(images)
        return found

    return compute


WRITERS: dict[str, Callable[..., tuple[Compute, str]]] = {
    "onnx": write_onnx,
    "torch_export": write_torch_export,
    "safetensors": write_safetensors,
    "torchvision": write_foreign("torchvision"),
    "timm": write_foreign("timm"),
}
