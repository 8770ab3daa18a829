"""What lies under the working directory: where it is, how it is written, and whose it is."""
