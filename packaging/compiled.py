"""With NFQDPI_MYPYC=1 in the environment a wheel holds what packets meet as machine code as well: the same source,
compiled by mypyc."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WANTED = os.environ.get("NFQDPI_MYPYC") == "1"


class Compiled(BuildHookInterface[BuilderConfig]):
    """``modules``: patterns of the files to compile, below the project's folder."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return ["mypy", "setuptools"] if _WANTED else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _WANTED:
            return
        if version == "editable":
            raise ValueError("NFQDPI_MYPYC=1: what is compiled would stand in the way of what is edited")
        self._folder = TemporaryDirectory()
        made = Path(self._folder.name)
        root = Path(self.root)
        sources = sorted(str(path.relative_to(root)) for pattern in self.config["modules"]
                         for path in root.glob(pattern) if path.name != "__init__.py")
        here = Path.cwd()
        os.chdir(root)
        try:
            _compile(sources, made)
        finally:
            os.chdir(here)
        for path in made.glob("lib/**/*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(made / "lib"))
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if _WANTED:
            self._folder.cleanup()


def _compile(sources: list[str], into: Path) -> None:
    """The modules below ``into``/lib, as they are to be installed."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    # Whether all imports can be found does not matter: what is not there counts as of any type.
    checks = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={into}/cache"]
    extensions = mypycify([*checks, *sources], target_dir=str(into / "c"), multi_file=True, group_name="nfqdpi")
    command = Distribution({"name": "nfqdpi", "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp, command.parallel = str(into / "lib"), str(into / "temp"), os.cpu_count()
    command.ensure_finalized()
    command.run()
