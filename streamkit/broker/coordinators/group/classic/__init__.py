"""Classic groups: the members' leader assigns, the coordinator keeps generation and barrier."""
