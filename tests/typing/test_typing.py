"""Type checkers on programs: two right, one wrong at exactly the marked lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WRONG = HERE / "wrong.py"
MARKED = {
    number
    for number, line in enumerate(WRONG.read_text().splitlines(), start=1)
    if line.endswith("# error")
}


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def mypy_errors(path: Path) -> set[int]:
    lines = run("mypy", "--strict", "--no-pretty", str(path)).splitlines()
    return {int(line.split(":")[1]) for line in lines if ": error:" in line}


def pyright_errors(path: Path) -> set[int]:
    found = json.loads(run("pyright", "--outputjson", str(path)))["generalDiagnostics"]
    return {item["range"]["start"]["line"] + 1 for item in found if item["severity"] == "error"}


@pytest.mark.parametrize("program", ["right.py", "clients.py"])
def test_mypy_accepts_the_right_programs(program: str) -> None:
    assert mypy_errors(HERE / program) == set()


def test_mypy_refuses_the_wrong_program_at_the_marked_lines() -> None:
    assert mypy_errors(WRONG) == MARKED


@pytest.mark.judge
@pytest.mark.parametrize("program", ["right.py", "clients.py"])
def test_pyright_accepts_the_right_programs(program: str) -> None:
    assert pyright_errors(HERE / program) == set()


@pytest.mark.judge
def test_pyright_refuses_the_wrong_program_at_the_marked_lines() -> None:
    assert pyright_errors(WRONG) == MARKED
