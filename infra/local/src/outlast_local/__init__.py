"""An embedded Kafka and Postgres, and every service as a child process, on a machine that has only Python and
make.
"""

from outlast_local.lifecycle import Running, Step, UpFailedError, down, status, up

__all__ = ["Running", "Step", "UpFailedError", "down", "status", "up"]
