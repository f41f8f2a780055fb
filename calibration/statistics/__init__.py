"""What activations look like: collected while videos run."""
