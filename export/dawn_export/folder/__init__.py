"""The folder of an artifact: complete or not at all."""
