"""Files of ``conf.d`` beside the configuration that the command line writes: whole, and right with all the rest."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nfqdpi.config import Config, ConfigError, load
from nfqdpi.folder import alone, replace


class PartError(Exception):
    """Why the file cannot be changed so."""


class Part:
    """``conf.d/NAME`` beside a configuration; ``command`` is what writes it."""

    def __init__(self, config: Path, name: str, command: str) -> None:
        self.path = config.parent / "conf.d" / name
        self._config = config
        self._command = command

    @contextmanager
    def alone(self) -> Iterator[str]:
        """Its text, while nobody else changes it."""
        self._make_folder()
        with alone(self.path.parent):
            try:
                yield self.path.read_text()
            except FileNotFoundError:
                yield ""

    def put(self, text: str, meant: dict[str, Any]) -> Config:
        """Put the text in place, when it says what is ``meant`` and the whole configuration is right with it: that.
        Raises PartError, ConfigError."""
        try:
            says = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PartError(f"{self.path} would not be TOML any more: {error}") from error
        if says != meant:
            raise self.by_hand()
        with TemporaryDirectory(prefix="nfqdpi-") as folder:
            checked = self._with(text, Path(folder))
        replace(self.path, text.encode(), like=self._config)
        return checked

    def by_hand(self) -> PartError:
        """It is not as we write it."""
        return PartError(f"{self.path} is written in another way than '{self._command}' does: edit it there")

    def _make_folder(self) -> None:
        """As the folder that it lies in: the daemon's user is to read there, whatever our umask."""
        folder = self.path.parent
        with suppress(FileExistsError):
            folder.mkdir()
            model = self._config.parent.stat()
            with suppress(PermissionError):  # only root gives folders away
                os.chown(folder, model.st_uid, model.st_gid)
            folder.chmod(stat.S_IMODE(model.st_mode))

    def _with(self, text: str, folder: Path) -> Config:
        """The configuration with this text in the file's place, from a folder that shows it so."""
        parts = folder / "conf.d"
        parts.mkdir()
        (folder / self._config.name).symlink_to(self._config.absolute())
        for part in self.path.parent.glob("*.toml"):
            if part.name != self.path.name:
                (parts / part.name).symlink_to(part.absolute())
        (parts / self.path.name).write_text(text)
        try:
            return load(folder / self._config.name, required=False)
        except ConfigError as error:
            shown = str(self._config.parent)
            raise ConfigError([line.replace(str(folder), shown) for line in error.problems]) from None
