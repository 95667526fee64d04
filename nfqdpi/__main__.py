"""`python -m nfqdpi`: the command line, where the console script is not on PATH."""

from nfqdpi.cli import main

main()
