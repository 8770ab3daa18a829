"""From records to statements: statistics and summaries of both halves."""
