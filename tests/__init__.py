"""Tests import one another as `tests.…`: pytest puts the folder above this one on the path."""
