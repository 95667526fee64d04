"""What mypyc, where it compiles us, is told of a class. It is not compiled itself, for Python needs it at run time.

``mypyc_attr(acyclic=True)``: no object of the class is ever part of a cycle of references, so the garbage collector
need not know of it. A table full of flows is then nothing that it looks through, time and again, while packets wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    def mypyc_attr(**_):  # noqa: ANN003, ANN202
        return lambda one: one
