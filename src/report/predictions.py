"""Read test_predictions.npz of a classification: which image, its label, what the network said and how surely."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictions:
    """The images of a test, arrays [N] each: their numbers, labels, predicted classes and confidences in [0, 1]."""

    index: "np.ndarray"
    label: "np.ndarray"
    prediction: "np.ndarray"
    confidence: "np.ndarray"


def read_predictions(path: Path) -> Predictions | None:
    """Read a file of predictions; None where it is missing or damaged, or has no single class an image."""
    import numpy as np

    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = [file[name] for name in ("index", "label", "prediction", "confidence")]
    except (Exception, MemoryError):  # a damaged zip raises anything from zlib.error to NotImplementedError
        return None
    flat = all(array.ndim == 1 and array.shape == found[0].shape for array in found)
    kinds = "".join(array.dtype.kind for array in found)
    return Predictions(*found) if flat and len(found[0]) and kinds.replace("u", "i") == "iiif" else None
