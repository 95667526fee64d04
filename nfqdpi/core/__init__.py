"""Bytes and ``now`` in, decisions out: no socket, file, clock, log, environment or randomness in here."""
