"""One endpoint under one load, without a workflow."""
