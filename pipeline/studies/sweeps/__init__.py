"""Sweeps: searches of an experiment's open values with Ray Tune."""
