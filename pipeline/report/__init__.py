"""One HTML page of any runs, sweeps and grids, that opens from disk."""
