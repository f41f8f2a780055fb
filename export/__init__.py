"""Turns an official GLUS checkpoint into a bundle: six portable ONNX graphs, tokenizer, embeddings and a manifest."""
