"""``python -m iliopsoas``: the command line where it is not installed, as in the git hook."""

import sys

from iliopsoas.cli import main

if __name__ == "__main__":
    sys.exit(main())
