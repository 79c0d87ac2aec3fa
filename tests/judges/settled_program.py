"""The cases in the file that SETTLED_CASES names, as one program; for `settled_run.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.differential.together import together
from tests.topology.oracle_cases import program_of

_LINES = Path(os.environ["SETTLED_CASES"]).read_text().splitlines()

app = program_of(together([json.loads(line) for line in _LINES], "settled")).app

if __name__ == "__main__":
    app.main()
