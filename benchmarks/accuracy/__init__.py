"""How well masks agree with the truth: J&F with intervals."""
