"""A server, a store and a place to be killed in for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nfqdpi.lists.store import Store
from tests.lists.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "state"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder that is on no disk: who is killed there is seldom found waiting for one."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
