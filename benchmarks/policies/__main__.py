"""`python -m glus_edge.benchmarks.policies`."""

import sys

from glus_edge.benchmarks.policies.command import main

if __name__ == "__main__":
    sys.exit(main())
