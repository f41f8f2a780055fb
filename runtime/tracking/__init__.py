"""SAM 2's part: masks from segment embeddings, and the memory bank."""
