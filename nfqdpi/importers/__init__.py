"""Other programs' policies, as a configuration of ours; what it cannot say is named, never approximated in silence."""
