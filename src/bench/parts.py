"""Comparisons d, e and g: the augmentation, the epoch's metrics and COCO's evaluation, each on its own."""

import time
from collections.abc import Iterable, Iterator
from types import MethodType
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.functional import pad

from ..data.normalization import normalization_of
from ..data.resident.loader import TrainLoader
from ..metrics import coco as coco_eval
from ..metrics.confusion import ClassificationMetrics
from ..tasks.classification import step
from ..training.trainer import quiet_lightning
from .images import cifar
from .peers import augmentation as per_sample
from .peers import coco as reference
from .peers.logged_metrics import Bare, Logged
from .rounds import Comparison
from .settings import Settings

BATCH, FEATURES, CLASSES = 128, 64, 10


BLOCK = 20  # steps


OBJECTS, FOUND, CATEGORIES = 7, 30, 80  # an image, as in COCO


def augmentation(settings: Settings) -> list[Comparison]:
    """d. Crop with a padding of 4, flip and normalise, in batches of 128; the peers with the workers that suit them."""
    raw, note = cifar(settings.data_root)
    split, info = raw.train.take(np.arange(settings.images)), raw.info
    images = pad(torch.from_numpy(split.images), (0, 0, 4, 4, 4, 4))
    ours = TrainLoader(
        images,
        torch.from_numpy(split.labels),
        normalization_of("dataset", info, torch.from_numpy(split.images)),
        padding=4,
        flip=True,
        seed=0,
        epoch=0,
        batch_size=BATCH,
    )
    makers = {"PIL in a DataLoader": per_sample.pil, "tensors in a DataLoader": per_sample.tensors}

    def rate(loader: Iterable[Any], passes: int) -> float:
        began = time.perf_counter()
        for _ in range(passes):
            for _ in loader:
                pass
        return passes * settings.images / (time.perf_counter() - began)

    peers: dict[str, Iterable[Any]] = {}
    notes = [note]
    for name, make in makers.items():
        loaders = [make(split.images, split.labels, info.mean, info.std, workers=number) for number in range(3)]
        tried = [max(rate(loader, 1) for _ in range(2)) for loader in loaders]  # the first pass starts the workers
        peers[name] = loaders[int(np.argmax(tried))]
        listed = ", ".join(f"{number}: {images:,.0f}" for number, images in enumerate(tried))
        notes.append(f"{name}, images/s by workers: {listed}; measured with the best")

    return [
        Comparison(
            f"d. Augmentation of {settings.images:,} images in batches of {BATCH}",
            "images/s",
            {"whole batches": lambda: rate(ours, 10)} | {name: lambda p=p: rate(p, 1) for name, p in peers.items()},
            {"PIL in a DataLoader": 20.0, "tensors in a DataLoader": 9.0},
            notes=notes,
        )
    ]


class Counted(Bare):
    """The step of ClassificationTask on the same small network, with our metrics."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.metrics = ClassificationMetrics(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss, cells = step(self.model, *batch)
        self.metrics.update(cells, loss)
        return loss

    def on_train_epoch_end(self) -> None:
        began = time.perf_counter()
        self.computed = self.metrics.compute()
        self.metrics.reset()
        self.ending = time.perf_counter() - began


class Batches:
    """Batches that are there already; Lightning would take a list of them for a list of loaders."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            (torch.randn(BATCH, FEATURES, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator))
            for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


class InTurn(Callback):
    """Lets every other block of steps go without metrics, and notes when each step began.

    The machine's speed changes by more than metrics cost, and soon: only neighbours can be compared.
    """

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        kind = Bare if batch_idx // BLOCK % 2 else type(module)
        module.training_step = MethodType(kind.training_step, module)  # type: ignore[method-assign]
        self.began.append(time.perf_counter())

    def added(self) -> float:
        """The median over pairs of blocks of the median step with metrics less the one without [s].

        The first step of a block is left out: it begins in the other's end.
        """
        whole = len(self.began[1:]) // (2 * BLOCK)
        steps = np.diff(self.began)[: 2 * BLOCK * whole].reshape(whole, 2, BLOCK)[:, :, 1:]
        with_metrics, without = np.median(steps, axis=2).T
        return float(np.median(with_metrics - without))


def epoch_of(module: LightningModule, batches: Batches, *callbacks: Callback) -> dict[str, Tensor]:
    """Train an epoch with all that a Trainer does; what was logged for it."""
    quiet_lightning()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    return dict(trainer.callback_metrics)


def epoch_metrics(settings: Settings) -> list[Comparison]:
    """e. What metrics add to a training step: the time of steps with them less that of steps without, in turn.

    What ours leaves for the epoch's end is divided among its steps; what the peer does then is not counted.
    """
    batches = Batches(max(settings.images // 4, 4 * BLOCK) + 1)

    def added(kind: type[Bare]) -> float:
        module, steps = kind(FEATURES, CLASSES), InTurn()
        epoch_of(module, batches, steps)
        # ours counts at the epoch's end what its steps noted, in every other block
        ending = module.ending / (len(batches) / 2) if isinstance(module, Counted) else 0.0
        return 1e6 * (steps.added() + ending)

    return [
        Comparison(
            f"e. Accuracy and macro precision, recall and F1 of {len(batches)} steps: what they add to a step",
            "µs",
            {"confusion matrix": lambda: added(Counted), "torchmetrics": lambda: added(Logged)},
            {"torchmetrics": 50.0},
            lower_is_better=True,
            notes=[f"the largest difference between the two's epoch metrics: {difference(batches):.1e} (target 1e-6)"],
        )
    ]


def difference(batches: Batches) -> float:
    """The largest difference between our metrics of an epoch and those that torchmetrics logged."""
    ours, theirs = Counted(FEATURES, CLASSES), Logged(FEATURES, CLASSES)
    theirs.model.load_state_dict(ours.model.state_dict())
    epoch_of(ours, batches)
    logged = epoch_of(theirs, batches)
    return max(
        abs(float(ours.computed[name]) - float(logged[f"{name}_epoch"]))
        for name in ("accuracy", "precision", "recall", "f1")
    )


def coco_evaluation(settings: Settings) -> list[Comparison]:
    """g. COCO's twelve numbers of the same boxes."""
    truth, results = made_detections(max(settings.images // 8, 50))
    last: dict[str, list[float]] = {}

    def ours() -> float:
        began = time.perf_counter()
        last["ours"] = list(coco_eval.evaluate(truth, results).numbers.values())
        return time.perf_counter() - began

    def theirs() -> float:
        own = truth | {"annotations": [dict(a) for a in truth["annotations"]]}, [dict(r) for r in results]
        began = time.perf_counter()
        last["theirs"] = reference.evaluate(*own)
        return time.perf_counter() - began

    def without() -> float:  # as ours runs
        with coco_eval.no_collection():
            return theirs()

    ours()
    theirs()
    apart = max(abs(a - b) for a, b in zip(last["ours"], last["theirs"], strict=True))
    return [
        Comparison(
            f"g. COCO's evaluation of {len(results):,} boxes on {len(truth['images']):,} made images",
            "s",
            {"faster-coco-eval": ours, "pycocotools": theirs, "pycocotools, no garbage collection": without},
            {"pycocotools": 11.0, "pycocotools, no garbage collection": None},
            lower_is_better=True,
            notes=[f"mAP {last['ours'][0]:.3f}; the largest difference of the 12 numbers: {apart:.1e}"],
        )
    ]


def made_detections(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation file's content, and what a middling detector might find: true boxes, moved, and false ones."""
    random = np.random.RandomState(0)
    truth: dict[str, Any] = {
        "images": [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": str(k)} for k in range(1, CATEGORIES + 1)],
        "annotations": [],
    }
    results = []
    for image in truth["images"]:
        for number in range(FOUND):
            x, y = random.uniform(0, 500), random.uniform(0, 380)
            width, height = np.exp(random.uniform(np.log(8), np.log(300), size=2))
            box, category = np.array([x, y, width, height]), int(random.randint(1, CATEGORIES + 1))
            if number < OBJECTS:
                annotation = {"id": len(truth["annotations"]) + 1, "image_id": image["id"], "category_id": category}
                annotation |= {
                    "bbox": box.tolist(),
                    "area": float(width * height),
                    "iscrowd": int(random.rand() < 0.01),
                }
                truth["annotations"].append(annotation)
                box[:2] += random.normal(0, 0.08, 2) * box[2:]
                box[2:] *= np.exp(random.normal(0, 0.08, 2))
            score = float(random.beta(4, 2) if number < OBJECTS else random.beta(1, 4))
            results.append({"image_id": image["id"], "category_id": category, "bbox": box.tolist(), "score": score})
    return truth, results
