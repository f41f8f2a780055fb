"""TensorRT: plans, the store of built engines, running them with CUDA graphs."""
