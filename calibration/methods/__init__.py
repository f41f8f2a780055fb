"""Ways of choosing scales and codes: AWQ, SmoothQuant, ranges of activations."""
