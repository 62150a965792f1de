"""Backbones, augmentations and the Dask run that fills the cache: what sees."""
