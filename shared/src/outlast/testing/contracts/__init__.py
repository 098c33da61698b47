"""contracts/ from the Python types: schemas, the AsyncAPI index, examples, and what counts as compatible.

`python -m outlast.testing.contracts` writes what is missing or stale, `--check` only says so.
"""
