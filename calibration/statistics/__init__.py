"""What activations look like: collected while clips run."""
