"""The `sdk` command: parse, call one verb of Project, print. The only place that prints and exits."""

from sdk.cli import advise, audit, commands, documents, flow, keys, leaks, policy, train  # noqa: F401 - they register themselves
from sdk.cli.app import main

__all__ = ["main"]
