"""Defaults and the words that options take, for the command line and the library alike. Imports nothing."""

DATASET = "synthetic"
BACKBONE = "tf_efficientnet_lite0"
AUGMENTATION = "none"
VIEWS, GRID_VIEWS, SHEET_VIEWS = 1, 2, 8
MOST_VIEWS = 1000
"""Views of an augmentation: more is a slip of the finger."""
METADATA = "metadata"
"""Name of the block whose features are columns of the image table."""
OBJECTIVE = "mcc"
SCORES = ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "accuracy")
"""Metrics that tables of runs show."""
COVERAGE = 0.9
UNLIKE = 0.01
NEIGHBOURS = 5
RESAMPLES = 2000
MOST_SEED = 2**32 - 1
"""The largest seed that scikit-learn takes."""
MOST_TRIALS = 1_000_000
LEAKAGE_HEADS = ("logreg", "knn", "random_forest", "mlp")
LEAKAGE_REPEATS = 5

PARTS = ("train", "validation", "test")
POLICIES = ("one_per_lesion", "single_image_lesions", "grouped")
PRECISIONS = ("auto", "fp32", "bf16")
STORAGES = ("auto", "float32", "float16")
FITS = ("crop", "squash")
DEVICES = ("auto", "cpu", "cuda")
SETS = ("lac", "aps")
LAYOUTS = ("tsne", "pca", "umap")
NO_LAYOUT = "none"
STRATEGIES = ("margin", "badge", "coverage", "random")
SUGGESTED = 50
"""Images that are suggested for labelling at a time."""
SEARCHES = ("optuna", "random", "grid")
CORRUPTIONS = ("blur", "noise", "jpeg", "brightness")
STOPPINGS = ("asha", "none")
