"""What an attempt's bytes say: tokens, times, answer, usage, class, score."""
