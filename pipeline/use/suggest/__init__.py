"""Suggestions of images to label next."""
