"""Protobuf messages for tests, made without protoc: nested ones, and an import."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

_TEXT, _INT, _MESSAGE = 9, 5, 11
_POOL = descriptor_pool.Default()


def _make() -> dict[str, Any]:
    assert timestamp_pb2.DESCRIPTOR.name, "the pool knows what is imported"
    money = descriptor_pb2.FileDescriptorProto(name="money.proto", package="shop", syntax="proto3")
    _field(money.message_type.add(name="Money"), "cents", 1, _INT)
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "money.proto"])
    _field(file.message_type.add(name="Cart"), "owner", 1, _TEXT)
    order = file.message_type.add(name="Order")
    _field(order, "item", 1, _TEXT)
    _field(order, "amount", 2, _INT)
    _field(order, "at", 3, _MESSAGE, ".google.protobuf.Timestamp")
    _field(order, "price", 4, _MESSAGE, ".shop.Money")
    _field(order.nested_type.add(name="Note"), "text", 1, _TEXT)
    _field(order.nested_type.add(name="Line"), "number", 1, _INT)
    for each in (money, file):
        _POOL.Add(each)
    names = ("Cart", "Order", "Order.Line")
    found = [_POOL.FindMessageTypeByName(f"shop.{name}") for name in names]
    return {
        name: message_factory.GetMessageClass(each) for name, each in zip(names, found, strict=True)
    }


def _field(message: Any, name: str, number: int, kind: int, type_name: str | None = None) -> None:
    message.field.add(name=name, number=number, type=kind, label=1, type_name=type_name)


_MADE = _make()
Cart: Any = _MADE["Cart"]
Order: Any = _MADE["Order"]
Line: Any = _MADE["Order.Line"]
