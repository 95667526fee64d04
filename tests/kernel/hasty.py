"""nfqdpi, but it looks every half second at what it looks at every six or ten else: `python -m tests.kernel.hasty`."""

from nfqdpi.cli import main
from nfqdpi.daemon import governor, guard

if __name__ == "__main__":
    guard._LOOK = governor._LOOK = 0.5
    main(prog_name="nfqdpi")
