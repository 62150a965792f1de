"""Sources of backbones: one module each, chosen by the beginning of a name."""
