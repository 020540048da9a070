"""The peers' side of each comparison of ``python -m src.bench``: how the same thing is commonly, and well, done."""
