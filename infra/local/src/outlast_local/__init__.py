"""An embedded Kafka and Postgres, and every service as a child process."""
