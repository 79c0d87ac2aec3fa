"""What foreign clients said to a broker once; `capture` writes it anew."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

CAPTURED = Path(__file__).parent / "captured_frames.txt"


def captured() -> Iterator[tuple[str, int, int, bytes]]:
    """Client, API, version and frame without its size, as they were taken down."""
    for line in CAPTURED.read_text().splitlines():
        client, api, version, text = line.split()
        yield client, int(api), int(version), base64.b64decode(text)
