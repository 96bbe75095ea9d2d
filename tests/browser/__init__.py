"""The viewer in a real browser; a package, so that its browser ends with its last test: while it lives, a loop runs."""
