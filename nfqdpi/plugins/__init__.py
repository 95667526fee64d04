"""Classifiers, one a file. Built-in ones come in by the same door as anybody's: an entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from nfqdpi.core.classifier import Classifier

GROUP = "nfqdpi.classifiers"


class PluginError(Exception):
    """An installed classifier cannot be used; the message names it and says why."""


def installed() -> list[EntryPoint]:
    """The entry points of the group, in the order of their names."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def load() -> list[Classifier]:
    """Every installed classifier. Raises PluginError."""
    classifiers = []
    for point in installed():
        try:
            classifier = point.load()
        except Exception as error:
            raise PluginError(f"classifier {point.name!r} ({point.value}) does not load: {error}") from error
        if not isinstance(classifier, Classifier):
            raise PluginError(f"classifier {point.name!r} ({point.value}) is not a Classifier")
        classifiers.append(classifier)
    return classifiers
