"""Everything a command imports, loaded once by the server that commands are forked from; nothing is computed here."""

import distributed  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model
import sklearn.neighbors
import sklearn.neural_network  # noqa: F401
import skorch  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401
import zarr  # noqa: F401

import hamcache.extract.fill
import hamcache.pipeline.cli.app
import hamcache.pipeline.experiment.runner
import hamcache.pipeline.studies.grid.cells
import hamcache.pipeline.studies.leaderboard
import hamcache.pipeline.use.predict.predictor
import hamcache.pipeline.use.share.feature_archive  # noqa: F401
