"""Compiled lists against a loop over their patterns."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.policy.index import NameIndex, build, is_whole
from nfqdpi.policy.names import Pattern, canonical
from tests.policy.reference import Listed, on
from tests.policy.test_names import names, patterns


def compiled(*lists: Listed) -> bytes:
    return build((f"list {n}", one.parsed()) for n, one in enumerate(lists))


def a_list(*blocked: str, excepted: tuple[str, ...] = ()) -> Listed:
    return Listed(tuple(map(Pattern.parse, blocked)), tuple(map(Pattern.parse, excepted)))


listed = st.builds(lambda blocked, excepted: a_list(*blocked, excepted=tuple(excepted)),
                   st.lists(patterns, max_size=10), st.lists(patterns, max_size=4))


@given(st.lists(listed, max_size=5), names)
def test_the_index_says_what_a_loop_says(lists: list[Listed], name: str) -> None:
    """However the lists overlap: those that have the name and no exception of their own for it."""
    index = NameIndex(compiled(*lists))
    assert index.lists_of(name) == sum(1 << n for n, one in enumerate(lists) if on(one, name))


def test_an_exception_is_its_list_s_own() -> None:
    """What one list takes out, another may block all the same."""
    index = NameIndex(compiled(a_list("a.example", excepted=("good.a.example",)), a_list("good.a.example")))
    assert [index.lists_of(name) for name in ("a.example", "good.a.example", "x.good.a.example")] == [0b01, 0b10, 0b10]


def test_many_lists() -> None:
    """More than a machine word has bits."""
    index = NameIndex(compiled(*(a_list("a.example", f"={n}.example") for n in range(100))))
    assert index.lists_of("x.a.example") == (1 << 100) - 1
    assert index.lists_of("99.example") == 1 << 99
    assert index.numbers(["list 99", "list 7", "list 200"]) == 1 << 99 | 1 << 7


def test_many_classes() -> None:
    """More than are remembered: each name is on lists of its own choice."""
    index = NameIndex(compiled(*(a_list(*(f"={n}.example" for n in range(1, 1 << 13) if n >> one & 1))
                                 for one in range(13))))
    assert [index.lists_of(f"{n}.example") for n in range(1 << 13)] == list(range(1 << 13))


def test_no_lists() -> None:
    """Nothing is on them."""
    index = NameIndex(compiled())
    assert (len(index), index.lists, index.lists_of("a.example")) == (0, (), 0)


@given(st.text(st.characters(), max_size=80))
def test_any_name_has_an_answer(text: str) -> None:
    """Names come from attackers: NUL, surrogates, dots only."""
    index = NameIndex(compiled(a_list("google.com", "*e*")))
    assert index.lists_of(canonical(text)) in (0, 1)


def test_from_a_mapped_file(tmp_path: Path) -> None:
    """As the workers have it: nothing but the small parts is read."""
    written = [f"{n * 2654435761 % (1 << 32):x}.example" for n in range(5000)]
    path = tmp_path / "names"
    path.write_bytes(compiled(a_list(*written), a_list(*written[:100], "*word*")))
    with path.open("rb") as file:
        index = NameIndex(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    assert {index.lists_of(name) for name in written[:100]} == {0b11}
    assert {index.lists_of(name) for name in written[100:]} == {0b01}
    assert index.lists_of("sword.example") == 0b10


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b + b"\0",
                                    lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b"x" + b[1:]])
def test_what_is_not_whole_is_known(damage: object) -> None:
    """Cut, longer, a bit turned over, or another file."""
    good = compiled(a_list(*(f"{n}.example" for n in range(100))))
    assert is_whole(good)
    assert callable(damage)
    assert not is_whole(damage(good))


def test_the_same_lists_give_the_same_bytes() -> None:
    """A compiled form can be told by a digest of what it was made from."""
    lists = [a_list("a.example", "*.b.example", "*word*"), a_list("=c.example", excepted=("b.example",))]
    assert compiled(*lists) == compiled(*lists)
