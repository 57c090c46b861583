"""Every weight read back; torch beside ONNX Runtime."""
