"""The named training augmentations, drawn by the epoch, applied to whole batches (src/data/resident.py)."""

from dataclasses import dataclass

from src.errors import UserError


@dataclass(frozen=True)
class Preset:
    """Zero padding by a share of the image's side, a random crop back to its size, a horizontal flip; then a
    rotation and a scaling about the centre, which repeat the border's pixels where the image ends.

    Waghmode et al. (2023) rotate, flip and scale CIFAR-10 and state no ranges: those in ``PRESETS`` are ours, and
    so are the uniform laws. The repeated border is Keras' default, fill_mode="nearest".
    """

    pad: float = 0.0
    flip: bool = False
    rotate: float = 0.0  # the largest angle, either way [degrees]
    scale: float = 0.0  # the largest relative change of size, either way

    def padding(self, image_size: int) -> int:
        """Padding on each side [pixels]: 4 at 32 for a share of 1/8, and at least 1 where there is any."""
        return max(1, round(self.pad * image_size)) if self.pad else 0


PRESETS = {
    "none": Preset(),
    "pad_crop": Preset(pad=1 / 8),
    "pad_crop_flip": Preset(pad=1 / 8, flip=True),  # He et al., section 4.2
    "rotate_scale_flip": Preset(flip=True, rotate=15.0, scale=0.1),  # after Waghmode et al.
}


def preset(name: str) -> Preset:
    """The preset of this name; an unknown one raises UserError with the list."""
    if name not in PRESETS:
        raise UserError(f"data.augment={name}: no such preset; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
