"""Every graph on an NVIDIA GPU, by every backend that is there."""
