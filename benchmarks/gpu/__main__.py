"""`python -m glus_edge.benchmarks.gpu`."""

import sys

from glus_edge.benchmarks.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())
