"""Runs behind a web page."""
