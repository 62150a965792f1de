"""Readers that turn what a user names into an image table."""
