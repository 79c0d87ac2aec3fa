"""The blocks of docs/programs.md, run one after the other."""

from __future__ import annotations

import re
import types
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "programs.md"


def test_every_block_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 8
    page = types.ModuleType("programs")
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), page.__dict__)
    described = page.__dict__["app"].topology.describe()
    assert "monthly" in described
