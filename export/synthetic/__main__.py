"""`python -m glus_edge.export.synthetic`."""

import sys

from glus_edge.export.synthetic.command import main

if __name__ == "__main__":
    sys.exit(main())
