"""Heads on cached features, and the metrics they are judged by: what learns."""
