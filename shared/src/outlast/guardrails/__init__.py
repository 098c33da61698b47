"""What holds a firing back, as the gate advises it: windows, slots, queues. Pure."""
