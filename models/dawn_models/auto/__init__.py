"""Our transformer behind transformers' Auto classes, without code from a checkpoint."""
