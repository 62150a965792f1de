"""Evaluation of a finished run on a labelled data set that it has never seen."""
