"""What a training run leaves: its log, read, and its model_dir."""
