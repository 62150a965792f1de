"""Pictures of a sweep."""


def plot_sweep(sweep):
    return []
