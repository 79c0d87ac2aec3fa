"""The judge of a history: which anomalies it shows, and figures that are only reported.

python -m tests.history.checker HISTORY...      files of JSON lines, as recorders write them
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.history.anomalies import ANOMALIES
from tests.history.model import Operation, Outcome, read_history
from tests.history.view import View, polls, view_of

SHOWN = 5
"""How many findings of an anomaly are printed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings by anomaly, and figures."""

    anomalies: Mapping[str, Sequence[str]]
    figures: Mapping[str, int]

    def __str__(self) -> str:
        lines = [", ".join(f"{count} {name}" for name, count in self.figures.items())]
        for name, findings in self.anomalies.items():
            lines.append(f"{name}: {len(findings)}")
            lines += [f"    {finding}" for finding in findings[:SHOWN]]
        return "\n".join(lines)


def check(operations: Sequence[Operation]) -> Verdict:
    """Look for every anomaly."""
    view = view_of(operations)
    found = {name: list(look(view)) for name, look in ANOMALIES.items()}
    return Verdict({name: each for name, each in found.items() if each}, _figures(view))


def _figures(view: View) -> dict[str, int]:
    outcomes = Counter(each.outcome for each in view.operations)
    kinds = Counter(each.kind for each in view.operations if each.outcome is Outcome.OK)
    return {
        "operations": len(view.operations),
        "ok": outcomes[Outcome.OK],
        "failed": outcomes[Outcome.FAIL],
        "unknown": outcomes[Outcome.INFO],
        **{f"ok {kind}": count for kind, count in sorted(kinds.items())},
        "values sent": len(view.sends),
        "records polled": sum(
            len(rows) for _, poll in polls(view) for rows in poll.records.values()
        ),
        "values consumed twice": _consumed_twice(view),
    }


def _consumed_twice(view: View) -> int:
    """How often a process got a value again, as after a rebalance or an abort it may."""
    counts = Counter(
        (operation.process, operation.life, value)
        for operation, poll in polls(view)
        for records in poll.records.values()
        for _, value in records
    )
    return sum(count - 1 for count in counts.values())


def history_of(paths: Sequence[Path]) -> list[Operation]:
    """The history in these files."""
    return read_history(line for path in paths for line in path.read_text().splitlines())


if __name__ == "__main__":
    verdict = check(history_of([Path(each) for each in sys.argv[1:]]))
    print(verdict)
    sys.exit(1 if verdict.anomalies else 0)
