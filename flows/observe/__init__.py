"""What a flow run shows on its server: name, tags, logs, events and a report."""
