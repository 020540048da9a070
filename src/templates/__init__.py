"""The files that ``python -m src.new`` writes, as templates of string.Template."""
