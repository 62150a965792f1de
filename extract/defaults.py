"""Choices and defaults of an extraction, for commands and configurations that import nothing heavy to name them."""

BACKBONE = "tf_efficientnet_lite0"
"""The backbone of commands that need none to be named: its weights are in an installed package."""
DEVICES = ("auto", "cpu", "cuda")
FITS = ("crop", "squash")
PRECISIONS = ("auto", "fp32", "bf16")
