"""What the summary says in words: pure functions over rows."""
