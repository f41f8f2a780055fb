"""What this machine can run: for `glus-edge doctor`."""
