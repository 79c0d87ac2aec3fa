"""Streams groups (KIP-1071): state, heartbeat, target assignment, reconciliation, describe."""
