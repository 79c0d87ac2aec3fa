"""Groups as scripts; the answers in them are those that Apache Kafka 4.3.1 gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.group_node import answered

SCRIPTS = sorted(Path(__file__).parent.glob("*_scripts/*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_answers_are_kafkas(path: Path) -> None:
    script = path.read_text()
    assert answered(script, path.stem) == script
