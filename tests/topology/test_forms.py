"""The hot nodes in both forms: compiled, and the same file interpreted."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamkit.topology.operators import node

SOURCE = Path(node.__file__).with_name("node.py")
HERE = Path(__file__).parent

RUN_INTERPRETED = f"""
import importlib.util, sys
import pytest
import streamkit.topology.operators
spec = importlib.util.spec_from_file_location({node.__name__!r}, {str(SOURCE)!r})
module = importlib.util.module_from_spec(spec)
sys.modules[{node.__name__!r}] = module
spec.loader.exec_module(module)
streamkit.topology.operators.node = module
from streamkit.topology.plan import SourceNode
assert SourceNode is module.SourceNode and not module.is_compiled()
sys.exit(pytest.main([{str(HERE / "test_run.py")!r}, "-q", "-p", "no:cacheprovider"]))
"""


def interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("node_interpreted", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_source_by_its_path_is_interpreted() -> None:
    assert interpreted().is_compiled() is False


def test_installed_form_is_compiled() -> None:
    if not node.is_compiled() and shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("there is no C compiler, so the nodes run interpreted")
    assert node.is_compiled(), "the nodes are not compiled: run make setup"


def test_interpreted_form_runs_topologies_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_INTERPRETED],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
