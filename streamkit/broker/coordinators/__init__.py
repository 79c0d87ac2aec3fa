"""Coordinators: state machines replicated over the partitions of an internal topic."""
