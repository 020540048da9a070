"""The tasks: each with its loss, its metrics and the files of its final test."""
