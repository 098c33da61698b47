"""Class notify: tell somebody outside."""
