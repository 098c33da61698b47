"""The built-in action types, registered by entry point like anybody's."""
