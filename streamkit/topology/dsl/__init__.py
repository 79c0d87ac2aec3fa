"""The fluent DSL: streams, tables, groups, and the decorated function."""
