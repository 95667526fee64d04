"""The observer that the page on observers writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nfqdpi.core.observer import Observer, Seen

_PAGE = Path(__file__).parents[2] / "docs/observers.md"


def test_the_pages_own_observer() -> None:
    """It remarks, once for each device, and remembers."""
    (code,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(code, _PAGE, "exec"), made)  # noqa: S102  our own page
    observer = made["observer"]
    assert isinstance(observer, Observer)
    seen = Seen(1000.0, bytes(4), b"\x20\0\0\0\0\1", ("www.a.com",), "a.com", "tls", False)
    watch = observer.begin(b"")
    assert [remark.message for _ in range(2) for remark in watch.seen(seen)] == ["20:00:00:00:00:01 is up: a.com"]
    assert list(observer.begin(watch.memory()).seen(seen)) == []
    assert list(watch.seen(seen._replace(when=50000.0, mac=bytes(6)))) == []
