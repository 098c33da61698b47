"""What makes a process of the parts: settings, logs, metrics, health, the loop, the service."""
