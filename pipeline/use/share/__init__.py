"""Features handed to people who then need neither images nor networks."""
