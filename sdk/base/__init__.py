"""The embedded base: a tiny model. What made it is `tools/embedded_base` in a checkout."""
