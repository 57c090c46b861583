"""Torch traced piece by piece, put together as ONNX."""
