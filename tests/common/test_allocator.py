"""Free memory goes back to the system, though live objects lie between."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
from streamkit.common.allocator import give_back, tune_allocator

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

tune_allocator()
objects = [bytes(1_500) for _ in range(40_000)]
full = resident_mb()
kept = objects[::40]
del objects
give_back()
print(full, resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
def test_free_pages_between_live_objects_are_given_back():
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    full, after = map(float, told.split())
    print(f"{full:.0f} MB with all objects, {after:.0f} with one of 40")
    assert full - after > 40


def test_elsewhere_nothing_is_done(monkeypatch):
    from streamkit.common import allocator

    monkeypatch.setattr(allocator, "_function", lambda name: None)
    allocator.tune_allocator()
    allocator.give_back()
