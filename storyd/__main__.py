"""`python -m storyd` is `storyd`. Knows the command line only."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
