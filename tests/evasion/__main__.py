"""The door for `./dev evasion`."""

from tests.evasion.table import main

main()
