"""The commands of `python -m glus_edge.training`: each file has `configure(parser)` and `run(arguments)`."""
