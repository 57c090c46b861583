"""Decoding thresholds fitted to a model, at its precision, on the prompts at hand."""
