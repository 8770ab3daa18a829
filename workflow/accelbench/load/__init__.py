"""One endpoint under one load, without a workflow; and the client on its test bench."""
