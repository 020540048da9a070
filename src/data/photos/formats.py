"""Decide which files are pictures: the formats and suffixes that Pillow reads by itself. Needs no torch."""

from functools import cache

from PIL import Image

# EPS starts another program; the others have no decoder of their own, or are no pictures at all
REFUSED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@cache
def list_formats() -> list[str]:
    """Return the names of the formats that are read, in the order in which Pillow tries them."""
    Image.init()
    named = set(Image.registered_extensions().values())  # the others have no magic number, or none of their own
    return [name for name in Image.ID if name in Image.OPEN and name in named - REFUSED]


@cache
def list_suffixes() -> frozenset[str]:
    """Return the suffixes of pictures, in lower case with their dot."""
    readable = {*list_formats(), "MPO"}  # an MPO file begins with a JPEG, as which it is read
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


@cache
def list_jpeg_suffixes() -> frozenset[str]:
    """Return the suffixes of JPEG files, in lower case with their dot."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name == "JPEG")
