"""Engines behind one interface: ONNX Runtime and OpenVINO."""
