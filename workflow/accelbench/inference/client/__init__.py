"""The client: requests sent, every read timed, all of it kept."""
