"""One run: settle, assemble, fit."""
