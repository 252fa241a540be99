"""`python -m mansio`."""

from mansio.cli import main

main()
