"""Probes: what a look inside a network shows, at its initialisation or at any checkpoint."""
