"""Predictions of new images: calibrated probabilities, prediction sets, and the most similar training images."""
