"""Load scikit-learn's handwritten digits (Alpaydin & Kaynak 1998), which come with the library."""

import hashlib

import numpy as np

from ...errors import UserError
from ..cut import hold_out
from ..info import DatasetInfo
from ..raw import Raw, Split

DIGITS = DatasetInfo("digits", tuple("0123456789"), 1, 8, (0.3058,), (0.3764,))
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def load_digits() -> Raw:
    """Load scikit-learn's 1,797 handwritten digits, 8x8, 0..16 scaled to 0..255; a fixed 360 are the test set."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    found = hashlib.sha256(pixels.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if found != DIGITS_SHA256:
        raise UserError(f"data=digits: this scikit-learn has other digits (sha256 {found}); reinstall it")
    images = np.rint(pixels[..., None] * (255 / 16)).astype(np.uint8)
    train, test = hold_out(labels, 360 / 1797, seed=0)
    whole = Split(images, labels)
    return Raw(DIGITS, whole.take(train), whole.take(test))
