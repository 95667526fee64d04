"""A plugin's folder as if it were installed: what its pyproject.toml names is found by the same door."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nfqdpi.plugins import GROUP, PluginError


@contextmanager
def as_installed(folder: Path) -> Iterator[None]:
    """Meanwhile the folder's plugins are loaded in place of installed ones of the package's name; without a
    pyproject.toml, only what is installed. Raises PluginError where that cannot be read."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        offered = {str(name): str(value) for name, value in project["entry-points"][GROUP].items()}
        name = str(project["name"])
    except FileNotFoundError:
        yield
        return
    except (KeyError, TypeError, AttributeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginError(f'{folder / "pyproject.toml"}: no [project.entry-points."{GROUP}"]: {error}') from error
    before = list(sys.path)
    with TemporaryDirectory(prefix="nfqdpi-") as place:
        distribution(Path(place), name, offered, str(project.get("version", "0")))
        sys.path[:0] = [place, str(folder.absolute() / "src"), str(folder.absolute())]
        try:
            yield
        finally:
            sys.path[:] = before


def distribution(place: Path, name: str, offered: Mapping[str, str], version: str = "1") -> None:
    """What says that a package is installed in ``place``, and which plugins it offers: "module:object", by name."""
    about = place / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(
        f"[{GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in offered.items()))
