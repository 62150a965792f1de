"""Finished runs at work."""
