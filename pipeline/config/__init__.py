"""What an experiment is: its schema, overrides, and messages on wrong input."""
