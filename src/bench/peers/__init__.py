"""The peers' side of each speed comparison."""
