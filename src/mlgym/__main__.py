"""`python -m mlgym` is the command line."""

from mlgym.cli import main

main()
