"""What outlives the daemon beside its lists: changes by hand, and how much of a time limit is used up."""

from nfqdpi.state.store import State, StateError

__all__ = ["State", "StateError"]
