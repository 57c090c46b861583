"""Weights streamed in blocks, hashed while they are written."""
