"""What agents did, to look at in a browser: `mlgym view`."""
