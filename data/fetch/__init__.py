"""Downloads of HAM10000 that survive interruptions."""
