"""Load data sets in COCO's format."""
