"""What the executor decides, without doing anything."""
