"""Bills: orders with the names of their customers, which change; anybody may ask for one.

A foreign-key join: each order names its customer, and a customer who changes their name changes all
of their bills.

    streamkit worker examples/bills.py --bootstrap 127.0.0.1:9092 --web 8080
    curl http://127.0.0.1:8080/stores/bills/key/order-7
"""

from __future__ import annotations

from pydantic import BaseModel

import streamkit as sk


class Order(BaseModel):
    """What was bought; the record's key is the order's number."""

    customer: str
    cents: int


class Customer(BaseModel):
    """Who buys; the record's key is the customer's number."""

    name: str


class Bill(BaseModel):
    """An order with its customer's name."""

    name: str
    cents: int


app = sk.App("bills")

orders = app.topic("orders", key=str, value=Order)
customers = app.topic("customers", key=str, value=Customer)
bills = app.topic("bills", key=str, value=Bill)


def customer_of(_number: str, order: Order) -> str:
    """The foreign key."""
    return order.customer


def bill(order: Order, customer: Customer) -> Bill:
    """An order and its customer."""
    return Bill(name=customer.name, cents=order.cents)


table = app.table(orders).join(app.table(customers), bill, on=customer_of, name="bills")
table.to_stream().to(bills)

if __name__ == "__main__":
    app.main()
