"""The packaged configurations: experiments, sweeps, augmentations."""
