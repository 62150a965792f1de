"""One experiment, from its configuration to a finished run."""
