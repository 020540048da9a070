"""Describe Fashion-MNIST (Xiao et al. 2017): 60,000 training and 10,000 test images, 28x28, grey."""

from ..info import DatasetInfo
from .official import Archive, PublishedSet


def _describe_archive(name: str, packed: str, unpacked: str) -> Archive:
    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    )
    return Archive(f"{name}.gz", packed, {name: unpacked}, tuple(f"{mirror}{name}.gz" for mirror in mirrors))


FASHION_MNIST = PublishedSet(
    info=DatasetInfo(
        "fashion_mnist",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        channels=1,
        image_size=28,
        mean=(0.2860,),
        std=(0.3530,),
    ),
    reader="FashionMNIST",
    archives=tuple(
        _describe_archive(*row.split())
        for row in (
            "train-images-idx3-ubyte 8d4fb7e6c68d591d4c3dfef9ec88bf0d f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte 25c81989df183df01b3e8a0aad5dffbe 9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte bef4ecab320f06d8554ea6380940ec79 8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte bb300cfdad3c16e7a12a480ee83cd310 15d484375f8d13e6eb1aabb0c3f46965",
        )
    ),
    folder="FashionMNIST/raw",
)
