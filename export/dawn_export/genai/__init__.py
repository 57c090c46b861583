"""An artifact as a package of onnx-genai: small graphs and a workflow beside the step graph."""
