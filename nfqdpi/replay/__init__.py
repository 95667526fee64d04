"""Capture files through the same engine as the live queue: what would have been queued, and what would have come of it.

A file's way: ``captures`` (frames), ``links`` (IP packets), ``fragments`` (whole ones), ``gate`` (what the kernel would
have queued, and the marks), ``run`` (rows, several files at once).
"""
