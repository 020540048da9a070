"""Fit a recipe to a set of your own pictures, from the number of pictures and classes, their size and colours.

The rule, with its reasons:

* **Steps, not epochs.** A network from scratch needs about a thousand steps before its features are of use, however few
  the pictures: 90 epochs of one step each are 90 steps. Few pictures are therefore seen often; many, at least 30 times.
* **Batch**: at most a sixteenth of the pictures, so that an epoch has sixteen steps; at least 8, for BatchNorm's
  statistics; at most 64, beyond which small sets only lose steps.
* **Learning rate**: AdamW's grows with the square root of the batch, SGD's in proportion to it. A warm-up over a
  fifth of the steps and a straight line to zero forgive a wrong peak.
* **Size**: 128 pixels where the pictures have them, 224 where there are also many; never beyond the pictures' own size,
  but at least 32, below which networks have nothing to reduce.
* **Augmentation**: resized crops, flips and light for photos. Small grey pictures may be signs, which a mirror turns
  into others, so these are not flipped.
* **From weights**: a third of the steps, at a fifth of the learning rate.
"""

import math
from dataclasses import dataclass

from ..errors import UserError

STEPS = 1000  # at least, from scratch
EPOCHS = (30, 300)  # at least, and at most
BATCHES = (8, 64)
RATES = {"adamw": (2e-3, 0.5), "adam": (2e-3, 0.5), "sgd": (0.05, 1.0)}  # at a batch of 32, and its power of the batch
MANY = 5000  # pictures, from where on large ones are worth their time
SIGNS = 32  # pixels, up to which grey pictures are taken for signs


@dataclass(frozen=True)
class SetFacts:
    """What a recipe must know of a set."""

    counts: tuple[int, ...]  # training pictures of each class
    pixels: int  # of the shorter side, as most pictures have it
    grey: bool  # all of them

    @property
    def n(self) -> int:
        return sum(self.counts)

    @property
    def imbalance(self) -> float:
        """Return how many times as many pictures the largest class has as the smallest."""
        return max(self.counts) / max(1, min(self.counts))


@dataclass(frozen=True)
class Recipe:
    batch_size: int
    epochs: int
    lr: float
    image_size: int
    channels: int
    augment: str

    @property
    def decoded_bytes(self) -> int:
        """Return the bytes of a picture in memory."""
        return self.image_size**2 * self.channels


def fit_recipe(
    n: int,
    classes: int,
    pixels: int,
    channels: int,
    *,
    pretrained: bool = False,
    batch_size: int = 0,
    optim: str = "adamw",
) -> Recipe:
    """Return the recipe for ``n`` training pictures of ``classes``, their shorter side ``pixels`` long.

    ``batch_size`` is a person's own, which the epochs and the learning rate follow; 0 fits it too.
    Raises UserError for an optimizer whose learning rate is not known.
    """
    fewest, most = BATCHES
    batch = batch_size or max(fewest, min(most, 2 ** int(math.log2(max(1, n // 16)))))
    batch = min(batch, n) if not batch_size else batch
    steps = STEPS * max(1.0, math.log10(classes)) / (3 if pretrained else 1)
    epochs = min(EPOCHS[1], max(EPOCHS[0], math.ceil(steps / max(1, n // batch))))
    if optim not in RATES:
        raise UserError(f"optim.lr=auto: is known for {', '.join(RATES)}, not for {optim}; set optim.lr=…")
    base, power = RATES[optim]
    lr = base * (batch / 32) ** power / (5 if pretrained else 1)
    size = 224 if pixels >= 224 and (n >= MANY or pretrained) else 128 if pixels >= 128 else max(32, pixels // 8 * 8)
    augment = "small_signs" if channels == 1 and pixels <= SIGNS else "small_photos"
    return Recipe(batch, epochs, float(f"{lr:.2g}"), size, channels, augment)
