"""`python -m tests.differential`: see cli.py."""

import sys

from tests.differential.cli import main

sys.exit(main())
