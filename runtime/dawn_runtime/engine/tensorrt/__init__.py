"""TensorRT plans: loading, contexts, buffers, the engine."""
