"""Begin a thing of one's own: the files that ``python -m src.new`` writes lie here as templates."""
