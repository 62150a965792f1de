"""A study: declared rows of experiments, chosen on validation, side by side with what each of them cost."""
