"""Sweeps: many trials of one experiment, its open values searched by Optuna and run by Ray Tune."""
