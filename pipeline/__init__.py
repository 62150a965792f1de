"""The front door: configuration, the runner, runs, metrics and the command line."""
