"""Training: params files, backends, and what their logs say."""
