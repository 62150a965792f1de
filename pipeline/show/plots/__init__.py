"""Pictures of runs, zoos, grids, sweeps and audits, drawn with matplotlib."""
