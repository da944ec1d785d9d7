"""A machine's clock that is set back: no approval comes back with it."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from random import Random

import pytest

from sdk.errors import Refused
from tests.clean_releases import Maker, Release, tensors


def release(maker: Maker, ends: float) -> Release:
    """A release that was promoted more than an hour after the start; one of its approvals `ends` minutes after it."""
    tree, identity = maker.package(1, tensors(maker.draw, 1000))
    short = maker.decide(identity, "approve", "Bob", maker.keys.second, 5, ends)
    tree |= maker.governance(identity, [*maker.decisions(identity)[:2], short])
    served = maker.checkpoint(maker.lines)
    return Release(tree, maker.rings[0].digest, served, maker.base, maker.folder, maker.folder)


def test_an_approval_that_ended_before_the_promotion_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(tmp_path, Random(14))

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return maker.start + timedelta(minutes=10)

    monkeypatch.setattr("sdk.serve.admit.datetime", SetBack)
    assert release(maker, ends=60 * 24 * 365 * 9).check()
    with pytest.raises(Refused) as caught:
        release(maker, ends=30).check()
    assert "it expired" in "\n".join(caught.value.faults)
