"""Read test_predictions.npz of a classification: which image, its label, what the network said and how surely."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import explain_os_error

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predictions:
    """The images of a test, arrays [N] each: their numbers, labels, predicted classes and confidences in [0, 1]."""

    index: "np.ndarray"
    label: "np.ndarray"
    prediction: "np.ndarray"
    confidence: "np.ndarray"


def read_arrays(path: Path, *names: str) -> "list[np.ndarray] | None":
    """Read these arrays of a file, [N] each; None where there is no file, or it has none or others of these.

    Raises UserError where the file is damaged or cannot be read.
    """
    import numpy as np

    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = [file[name] for name in names if name in file.files]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(explain_os_error(error, path).rstrip(".")) from None
    except (Exception, MemoryError):  # a damaged zip raises anything from zlib.error to NotImplementedError
        raise UserError(f"{path}: damaged") from None
    flat = all(array.ndim == 1 and array.shape == found[0].shape for array in found)
    return found if flat and len(found) == len(names) else None


def read_predictions(path: Path) -> Predictions | None:
    """Read a file of predictions; None where there is no such file.

    Raises UserError where it is damaged, cannot be read, or has no single class an image.
    """
    found = read_arrays(path, "index", "label", "prediction", "confidence")
    if found is None and not path.exists():
        return None
    kinds = [array.dtype.kind for array in found or [] if len(array)]
    if not found or kinds[3:] != ["f"] or not set(kinds[:3]) <= {"i", "u"}:
        raise UserError(f"{path}: damaged (it lacks a label, a prediction and a confidence for each image)")
    return Predictions(*found)
