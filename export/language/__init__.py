"""The language model's graph, written node by node while its weights stream through the quantiser."""
