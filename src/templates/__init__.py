"""The files that ``python -m src.new`` writes, as templates of jinja2."""
