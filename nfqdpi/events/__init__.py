"""Events: what one says, where they are written to, and how they are read again."""
