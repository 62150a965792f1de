"""The leakage demonstration: scores that a careless split pretends."""
