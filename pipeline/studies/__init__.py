"""Many experiments: zoos, hybrids, grids, sweeps, the leakage demonstration."""
