"""Files: the one way to read them, the one way to write them, and what lies where in a project."""
