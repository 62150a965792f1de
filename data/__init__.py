"""Image tables, splits, digests and curation: what is given."""
