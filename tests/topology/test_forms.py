"""The hot operators in both forms: compiled, and the same files interpreted."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamkit.common.compiled import TOGETHER
from streamkit.topology import operators
from tests.interpreted import interpreted

FOLDER = Path(next(iter(operators.__path__)))
PREFIX = "topology.operators."
HOT = sorted(
    (name.removeprefix(PREFIX) for name in TOGETHER if name.startswith(PREFIX)),
    key=lambda name: name != "node",  # the others build on it
)
HERE = Path(__file__).parent

RUN_INTERPRETED = f"""
import importlib.util, sys
import pytest
import streamkit.topology.operators as operators
for name in {HOT!r}:
    full = f"streamkit.topology.operators.{{name}}"
    spec = importlib.util.spec_from_file_location(full, f"{FOLDER}/{{name}}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    setattr(operators, name, module)
    assert not module.is_compiled()
from streamkit.topology.plan import SourceNode
assert SourceNode is operators.node.SourceNode
sys.exit(pytest.main([{str(HERE / "test_run.py")!r}, "-q", "-p", "no:cacheprovider"]))
"""


def compiled_or_not(name: str) -> bool:
    return bool(importlib.import_module(f"streamkit.topology.operators.{name}").is_compiled())


@pytest.mark.parametrize("name", HOT)
def test_source_by_its_path_is_interpreted(name: str) -> None:
    assert interpreted(f"{PREFIX}{name}").is_compiled() is False


@pytest.mark.parametrize("name", HOT)
def test_installed_form_is_compiled(name: str) -> None:
    if not compiled_or_not(name) and shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("there is no C compiler, so the operators run interpreted")
    assert compiled_or_not(name), f"{name} is not compiled: run make setup"


def test_interpreted_form_runs_topologies_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_INTERPRETED],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
