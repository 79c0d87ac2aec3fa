"""The log: one line a record, as text and as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamkit.cli.logs import TEXT, JsonLines, TextLines

ROOT = Path(__file__).parent.parent.parent


def a_record(message: str, *args: object, error: bool = False, **extra: Any) -> logging.LogRecord:
    """A record, with an exception of two lines where asked."""
    info = None
    if error:
        try:
            raise ValueError("first line\nsecond line")
        except ValueError:
            info = sys.exc_info()
    logger = logging.getLogger("streamkit.broker.node")
    return logger.makeRecord(
        logger.name, logging.ERROR, "node.py", 77, message, args, info, extra=extra
    )


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines(TEXT)])
def test_a_record_is_one_line_whatever_is_in_it(formatter: logging.Formatter) -> None:
    record = a_record("three\nlines\r\n%s", "of \x1b text", error=True)
    text = formatter.format(record)
    assert len(text.splitlines()) == 1
    assert "first line" in text and "second line" in text and "Traceback" in text


def test_json_says_when_what_and_who() -> None:
    record = a_record("%s is offline", "orders-7", error=True, topic="orders", partition=7)
    record.created = 1_700_000_000.5
    values = json.loads(JsonLines().format(record))
    assert values.pop("exception").endswith("ValueError: first line\nsecond line")
    assert values == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "ERROR",
        "logger": "streamkit.broker.node",
        "message": "orders-7 is offline",
        "topic": "orders",
        "partition": 7,
    }


def test_what_json_has_no_word_for_is_shown_all_the_same() -> None:
    values = json.loads(JsonLines().format(a_record("broken \ud800 text", size=2**70)))
    assert values["message"] == repr("broken \ud800 text")
    plain = json.loads(JsonLines().format(a_record("a path", path=Path("/data"))))
    assert plain["path"] == "/data"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_broker_logs_in_the_format_that_is_asked_for(tmp_path: Path, log_format: str) -> None:
    ready = tmp_path / "ready"
    argv = [sys.executable, "-m", "streamkit", "broker", "start", "--listen", "127.0.0.1:0"]
    argv += ["--data", str(tmp_path / "data"), "--ready-file", str(ready), "--quiet"]
    argv += ["--log-format", log_format, "--log-level", "info"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    first = process.stderr.readline()
    while "serves" not in first:
        assert first, "the broker ended before it served"
        first = process.stderr.readline()
    process.terminate()
    rest = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    lines = [first, *rest.splitlines()]
    if log_format == "json":
        assert all(json.loads(line)["level"] == "INFO" for line in lines)
        assert json.loads(first)["message"].startswith("node 1 serves")
    else:
        assert " INFO node 1 serves" in first
