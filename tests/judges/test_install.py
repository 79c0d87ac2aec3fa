"""The package installs with and without a C compiler, and says which variant runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

COPIED = ("streamkit", "pyproject.toml", "README.md", "LICENSE")


def install(directory: Path, compiler: str | None) -> Path:
    """Build a wheel from a copy of the sources and install it in a folder of its own."""
    source = directory / "source"
    source.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    environment = dict(os.environ) if compiler is None else dict(os.environ, CC=compiler)
    target = directory / "installed"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--target", str(target), str(source)),
        ],
        env=environment,
        check=True,
    )
    return target


def version(installed: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "streamkit", "--version"],
        cwd=installed,
        env=dict(os.environ, PYTHONPATH=str(installed)),
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.judge
def test_without_a_compiler_it_runs_interpreted_and_warns(tmp_path: Path) -> None:
    installed = install(tmp_path, "/bin/false")
    assert list(installed.rglob("*.so")) == []
    said = version(installed)
    assert "(interpreted)" in said.stdout
    assert "warning: the hot modules run interpreted" in said.stderr


@pytest.mark.judge
def test_with_a_compiler_the_hot_modules_are_compiled(tmp_path: Path) -> None:
    installed = install(tmp_path, None)
    built = {path.name.split(".")[0] for path in installed.rglob("*.so")}
    hot = {
        line.split("/")[-1].split(".")[0]
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith('sources = ["')
    }
    assert built == hot
    said = version(installed)
    assert "(compiled)" in said.stdout
    assert said.stderr == ""
