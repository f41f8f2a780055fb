"""`python -m glus_edge.benchmarks.language`."""

import sys

from glus_edge.benchmarks.language.command import main

if __name__ == "__main__":
    sys.exit(main())
