"""An independent reading of Prometheus' text format 0.0.4, strict where the format leaves nothing open.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"')
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


@dataclass
class Family:
    """A metric: what it is, and its samples by name and labels."""

    kind: str = ""
    help: str = ""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """The metrics by name. Raises ValueError with the line that is wrong."""
    families: dict[str, Family] = {}
    name = ""
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, told = line.removeprefix("# HELP ").partition(" ")
            if name in families or not _NAME.fullmatch(name):
                raise ValueError(line)
            families[name] = Family(help=told)
        elif line.startswith("# TYPE "):
            told_name, kind = line.removeprefix("# TYPE ").split(" ")
            if told_name != name or families[name].kind or kind not in _SUFFIXES:
                raise ValueError(line)
            families[name].kind = kind
        else:
            sample, labels, value = _sample(line)
            family = families[name]
            if sample not in [name + suffix for suffix in _SUFFIXES[family.kind]] or (sample, labels) in family.samples:
                raise ValueError(line)
            family.samples[sample, labels] = value
    for name, family in families.items():
        if family.kind == "histogram":
            _check(name, family)
    return families


def _sample(line: str) -> tuple[str, frozenset[tuple[str, str]], float]:
    found = _NAME.match(line)
    if found is None:
        raise ValueError(line)
    at, labels = found.end(), []
    if line[at] == "{":
        at += 1
        while label := _LABEL.match(line, at):
            labels.append((label[1], re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], label[2])))
            at = label.end() + (line[label.end()] == ",")
        if line[at] != "}" or len(dict(labels)) != len(labels):
            raise ValueError(line)
        at += 1
    if line[at] != " ":
        raise ValueError(line)
    return found[0], frozenset(labels), float(line[at + 1 :])


def _check(name: str, family: Family) -> None:
    """A histogram's buckets rise with their bounds, and the last holds all."""
    buckets = sorted((float(dict(labels)["le"]), value) for (sample, labels), value in family.samples.items()
                     if sample == f"{name}_bucket")
    values = [value for _, value in buckets]
    if buckets[-1] != (inf, family.samples[f"{name}_count", frozenset()]) or values != sorted(values):
        raise ValueError(f"{name}: {buckets}")
    if f"{name}_sum" not in {sample for sample, _ in family.samples}:
        raise ValueError(f"{name} has no sum")
