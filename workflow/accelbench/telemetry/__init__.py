"""What went on around a measurement: recorded by a process beside it, read back, summarised."""
