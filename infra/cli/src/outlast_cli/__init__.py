"""The `outlast` command: the product by hand, and the same for scripts with `--json`."""
