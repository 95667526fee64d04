"""Our parsers against independent ones. Where they differ, the reason has a name."""
