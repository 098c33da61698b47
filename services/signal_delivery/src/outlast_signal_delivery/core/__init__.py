"""What becomes of a signal, decided without I/O."""
