"""`python -m glus_edge.benchmarks.gpu`: `glus-edge bench gpu`, from a checkout that is not installed."""

import sys

from glus_edge.runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "gpu", *sys.argv[1:]]))
