"""Rewrites of ONNX graphs made when a backend loads or builds them."""
