"""Artefacts, which experiments leave on disk: found, read, listed, locked and removed."""
