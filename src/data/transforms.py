"""Name the training augmentations; needs no torch.

Sets that lie on the training device take a ``Preset``, drawn by the epoch and applied to whole batches
(src/data/resident/loader.py); sets that are decoded while training take a ``Photos``, drawn by the sample
(src/data/photos/augment.py).
"""

from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Preset:
    """Augment small images: pad, crop, flip, rotate, scale and cut out, in this order; each step is optional.

    Padding is a fraction of the image's side, with zeros or the mirrored border; a random crop and a horizontal flip
    follow. Rotation and scaling are about the centre and repeat the border's pixels where the image ends. With
    ``alternate`` an image is flipped at random in the first epoch only, and then in every second epoch (Jordan 2024):
    two epochs in a row show both of its sides. The square hole lies at a random place inside the image and is zero
    after normalisation (DeVries & Taylor 2017 let it reach over the border, Jordan 2024 does not).

    Waghmode et al. (2023) rotate, flip and scale CIFAR-10 and state no ranges: those in ``PRESETS`` are ours, and
    so are the uniform laws. The repeated border is Keras' default, fill_mode="nearest".
    """

    pad: float = 0.0
    reflect: bool = False
    flip: bool = False
    alternate: bool = False
    rotate: float = 0.0  # the largest angle, either way [degrees]
    scale: float = 0.0  # the largest relative change of size, either way
    cutout: float = 0.0  # side of the hole, as a fraction of the image's
    least: float = 0.0  # the smallest fraction of the area that a resized crop keeps; 0: no resized crops
    light: float = 0.0  # the largest change of contrast, relative, and of brightness [deviations], either way

    def hole(self, image_size: int) -> int:
        """Return the side of the hole [pixels]: 12 at 32 for a fraction of 3/8."""
        return round(self.cutout * image_size)

    def padding(self, image_size: int) -> int:
        """Return the padding on each side [pixels]: 4 at 32 for a fraction of 1/8, at least 1 unless none."""
        return max(1, round(self.pad * image_size)) if self.pad else 0


@dataclass(frozen=True)
class Photos:
    """Augment photos: a random resized crop and a horizontal flip as in torchvision's references, then the rest.

    For evaluation the shorter side is resized to ``resize`` × the test size, and the centre is cropped.
    """

    crop: bool = True  # False: as in evaluation
    least: float = 0.08  # the smallest fraction of the area that a crop keeps
    flip: bool = True
    square: bool = False  # in evaluation, squeezed into a square instead, so that nothing is cut off
    trivial_augment: bool = False  # one of TrivialAugment's wide operations (Müller & Hutter 2021)
    erase: float = 0.0  # probability of a rectangle of the mean colour (Zhong et al. 2020)
    mixup: float = 0.0  # parameter of the Beta distribution of the mixing fractions (Zhang et al. 2018); 0: none
    cutmix: float = 0.0  # likewise (Yun et al. 2019); with both, each batch takes one of them at random
    train_size: int = 224  # [pixels]
    test_size: int = 224
    resize: float = 256 / 224


PRESETS = {
    "none": Preset(),
    "pad_crop": Preset(pad=1 / 8),
    "pad_crop_flip": Preset(pad=1 / 8, flip=True),  # He et al., section 4.2
    "shift2_alternate": Preset(pad=1 / 16, reflect=True, flip=True, alternate=True),  # Jordan 2024, by 2 pixels of 32
    "shift4_alternate": Preset(pad=1 / 8, reflect=True, flip=True, alternate=True),  # the same for longer training
    "shift4_alternate_cutout": Preset(pad=1 / 8, reflect=True, flip=True, alternate=True, cutout=3 / 8),  # by 12 of 32
    # for small sets of your own (src/data/recipe.py): pictures that may be mirrored, and signs that may not
    "small_photos": Preset(flip=True, least=0.35, light=0.2),
    "small_signs": Preset(least=0.6, light=0.2),
    "rotate_scale_flip": Preset(flip=True, rotate=15.0, scale=0.1),  # after Waghmode et al.
}


PHOTOS = {
    "none": Photos(crop=False, flip=False),
    # the crops of Szegedy et al. (2015); the recipe behind torchvision's IMAGENET1K_V1 weights
    "imagenet_v1": Photos(),
    # behind IMAGENET1K_V2: erasing 0.1, mixup 0.2, cutmix 1.0; trained at 176 and tested at 224, after resizing to 232
    # (FixRes, Touvron et al. 2019)
    "imagenet_v2": Photos(
        trivial_augment=True, erase=0.1, mixup=0.2, cutmix=1.0, train_size=176, test_size=224, resize=232 / 224
    ),
    # whole photos, whose objects all have to stay in sight; 448 as usual on COCO; a crop keeps at least a quarter, ours
    "square": Photos(crop=False, flip=False, square=True, train_size=448, test_size=448),
    "square_flip": Photos(crop=False, square=True, train_size=448, test_size=448),
    "square_crop_flip": Photos(least=0.25, square=True, train_size=448, test_size=448),
}


def find_preset(name: str) -> Preset:
    """Return the preset of this name for sets that lie on the device. Raises UserError, with the list, without one."""
    check_preset(name)
    if name not in PRESETS:
        raise UserError(
            f"data.augment={name}: is for photos (data=imagenet); for small images there are: {', '.join(PRESETS)}"
        )
    return PRESETS[name]


def find_photo_preset(name: str) -> Photos:
    """Return the preset of this name for photos that are decoded while training. Raises as ``find_preset`` does."""
    check_preset(name)
    if name not in PHOTOS:
        raise UserError(f"data.augment={name}: is for small images; for photos there are: {', '.join(PHOTOS)}")
    return PHOTOS[name]


def check_preset(name: str) -> None:
    """Raise UserError, with the list, where no preset has this name."""
    known = PRESETS | PHOTOS
    if name not in known:
        raise UserError(f"data.augment={name}: no such preset; there are: {', '.join(known)}")
