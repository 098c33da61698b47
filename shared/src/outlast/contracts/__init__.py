"""What crosses a process boundary, as Python types. contracts/ holds the same as JSON Schema, exported from here."""
