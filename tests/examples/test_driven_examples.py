"""The examples that need no broker to be tried: windows and dead letters, foreign keys, async."""

from __future__ import annotations

import sys

from tests.harness import ROOT

sys.path.insert(0, str(ROOT / "examples"))

MINUTE_MS = 60_000


def test_sensors_tell_each_minute_once_and_set_bad_readings_aside() -> None:
    from sensors import Reading, app, means, readings

    with app.test() as t:
        for number in range(90):
            t.pipe(readings, "roof", Reading(float(number)), at=number * 1_000)
        t.pipe_bytes("readings", b"roof", b"{", at=90_000)
        t.pipe(readings, "roof", Reading(-300.0), at=90_000)
        t.pipe(readings, "roof", Reading(5.0), at=2 * MINUTE_MS + 10_000)
        assert [(r.key, r.value) for r in t.read(means)] == [
            ("roof@0", sum(range(60)) / 60),
            (f"roof@{MINUTE_MS}", sum(range(60, 90)) / 30),
        ]
        dead = [record for record in t.written if record.tp.topic == "readings.dlq"]
        assert [record.value for record in dead] == [b"{", b'{"celsius":-300.0}']
        assert dict(dead[1].headers)["__streams.errors.message"] == b"-300.0 is below absolute zero"


def test_bills_follow_the_names_of_customers() -> None:
    from bills import Customer, Order, app, bills, customers, orders

    with app.test(partitions=3) as t:
        t.pipe(customers, "c-1", Customer(name="Ann"))
        t.pipe(orders, "o-1", Order(customer="c-1", cents=500))
        t.pipe(orders, "o-2", Order(customer="c-2", cents=700))
        t.pipe(customers, "c-1", Customer(name="Anna"))
        t.pipe(customers, "c-2", Customer(name="Bob"))
        told = [(r.key, r.value.name, r.value.cents) for r in t.read(bills)]
        assert told == [("o-1", "Ann", 500), ("o-1", "Anna", 500), ("o-2", "Bob", 700)]


def test_visits_are_located_in_spite_of_a_busy_service() -> None:
    from visits import app, places, visits

    addresses = [f"10.0.0.{number % 20}" for number in range(60)]
    with app.test() as t:
        for number, address in enumerate(addresses):
            t.pipe(visits, f"v-{number % 7}", address)
        for _ in range(100):
            t.advance(ms=100)
        located = [r.value for r in t.read(places)]
        assert sorted(located) == sorted(f"place {each.rpartition('.')[2]}" for each in addresses)
        assert not [record for record in t.written if record.tp.topic == "visits.dlq"]
