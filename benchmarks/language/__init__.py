"""One step of the language model in 4 bits, beside llama.cpp."""
