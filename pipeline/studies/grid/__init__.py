"""Grids: every augmentation by every backbone."""
