"""Speed beside floors, and beside what people use: `python -m benchmarks --help`."""
