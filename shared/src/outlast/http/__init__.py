"""The HTTP edge that the services with an API have in common. Loop services do not import it."""
