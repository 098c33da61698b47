"""What tests of every distribution are built from: suites for ports, and the simulated world."""
