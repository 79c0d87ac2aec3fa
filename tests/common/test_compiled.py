"""Compiled modules that know each other's C types: whole, or refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from streamkit.common.compiled import PACKAGE, TOGETHER


def test_all_that_share_types_are_known() -> None:
    """Each compiled module that has C types, or takes those of another, is in the list."""
    declared = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    compiled = [each["sources"][0] for each in declared["tool"]["setuptools"]["ext-modules"]]
    with_types = [
        str(Path(source).with_suffix("")).replace("/", ".").removeprefix("streamkit.")
        for source in compiled
        if (PACKAGE.parent / source).with_suffix(".pxd").exists()
        or source.startswith("streamkit/topology/operators/")
    ]
    assert sorted(with_types) == sorted(TOGETHER)


@pytest.mark.parametrize("package", ["state", "topology.operators", "tasks"])
def test_compiled_in_part_is_refused(tmp_path: Path, package: str) -> None:
    """A compiled node under an interpreted operator would give no results, and say nothing."""
    shutil.copytree(PACKAGE, tmp_path / "streamkit", ignore=shutil.ignore_patterns("*.c"))
    stems = [(tmp_path / "streamkit").joinpath(*name.split(".")) for name in TOGETHER]
    for stem in stems:
        for built in stem.parent.glob(f"{stem.name}.*.so"):
            built.unlink()
    done = imported(package, tmp_path)
    assert done.returncode == 0, done.stderr
    for stem in stems:
        if not stem.name.startswith("w"):
            stem.with_name(stem.name + EXTENSION_SUFFIXES[0]).touch()
    done = imported(package, tmp_path)
    assert done.returncode != 0
    told = done.stderr.splitlines()[-1]
    assert "compiled in part: state.window_keys, state.windows, topology.operators.windowed" in told


def imported(package: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import streamkit.{package}"],
        cwd=where, capture_output=True, text=True, check=False,
    )  # fmt: skip
