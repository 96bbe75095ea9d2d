"""Surfaces for reading: what episodes did, as text in a terminal."""
