"""Archives of feature stores, written and read back."""
