"""The embedded base: a tiny model in this folder, and the script that made it."""
