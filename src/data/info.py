"""The facts of a data set, kept in one place and passed on by the builders; no model retypes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """What a network and a loader must know of a data set; no torch is needed to know it."""

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int  # side of the square images [pixels]
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        return len(self.classes)


DIGITS = DatasetInfo("digits", tuple("0123456789"), 1, 8, (0.3058,), (0.3764,))


CIFAR10 = DatasetInfo(
    "cifar10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    channels=3,
    image_size=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),  # of all pixels, not 0.2023, 0.1994, 0.2010: the mean over images
)


_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


CIFAR100 = DatasetInfo(
    "cifar100",
    tuple(_FINE.split()),
    channels=3,
    image_size=32,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


FASHION_MNIST = DatasetInfo(
    "fashion_mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    channels=1,
    image_size=28,
    mean=(0.2860,),
    std=(0.3530,),
)
