"""Java's serdes, asked live: what they write is what was recorded for `tests/serdes`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.foreign import KAFKA
from tests.serdes.java_cases import RECORDED

pytestmark = pytest.mark.judge

SOURCE = Path(__file__).parent / "SerdeVectors.java"


def test_java_s_serdes_write_what_was_recorded() -> None:
    jars = subprocess.run([str(KAFKA), "jars"], check=True, capture_output=True, text=True)
    command = ["java", "-Xmx200m", "-cp", f"{jars.stdout.strip()}", str(SOURCE)]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout == RECORDED.read_text()
