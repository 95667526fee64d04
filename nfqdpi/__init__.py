"""nfqdpi: name-based control of web connections on a Linux router, by NFQUEUE and conntrack marks."""

__version__ = "0.1.0"
