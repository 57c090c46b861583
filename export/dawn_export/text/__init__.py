"""Tokenizer and chat template, without code from a checkpoint."""
