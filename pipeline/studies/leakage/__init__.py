"""The leakage demonstration: what a careless split pretends."""
