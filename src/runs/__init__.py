"""Run directories: their identity, their files and what is read from them again."""
