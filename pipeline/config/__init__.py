"""The configuration of an experiment: its schema, overrides, and messages on wrong input."""
