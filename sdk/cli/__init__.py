"""The `sdk` command: parse, call one verb of Project, print. The only place that prints and exits."""

from sdk.cli import (  # noqa: F401 - they register themselves
    advise,
    audit_commands,
    benchmark_commands,
    commands,
    export_commands,
    flow,
    founding_commands,
    key_commands,
    leak_check,
    measuring,
    policy_commands,
    scrub_commands,
    train,
    write_documents,
)
from sdk.cli.app import main

__all__ = ["main"]
