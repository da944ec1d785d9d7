"""Every key of a policy: the step that reads it, the room that obeys it or the rule that checks it, and which of two
values is the stricter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Change = Literal["stricter", "looser", "other"]
Order = Callable[[Any, Any], Change]


def _ranked(rank: Callable[[Any], float]) -> Order:
    """Order values by a rank; the higher is the stricter."""

    def order(before: Any, after: Any) -> Change:
        old, new = rank(before), rank(after)
        return "other" if old == new else "stricter" if new > old else "looser"

    return order


def _held(wider_is_stricter: bool) -> Order:
    """Lists and tables by what they hold; of two that each hold something else, neither is the stricter."""

    def items(value: Any) -> set[Any]:
        if isinstance(value, dict):
            return {(key, item) for key, listed in value.items() for item in listed}
        return set(value)

    def order(before: Any, after: Any) -> Change:
        old, new = items(before), items(after)
        wider, narrower = old < new, new < old
        if wider or narrower:
            return "stricter" if wider == wider_is_stricter else "looser"
        return "other"

    return order


def _actions(before: dict[str, str], after: dict[str, str]) -> Change:
    """Decided only where both name the same kinds and all that changed did so in one direction."""
    if before.keys() != after.keys():
        return "other"
    changes = {ACTION(before[kind], after[kind]) for kind in before if before[kind] != after[kind]}
    return changes.pop() if len(changes) == 1 else "other"


def _bounds(before: dict[str, float] | None, after: dict[str, float] | None) -> Change:
    """Order least values by name, of which a missing one asks nothing; decided where all changed in one direction."""
    old, new = before or {}, after or {}
    changes = {
        HIGHER(old.get(name, float("-inf")), new.get(name, float("-inf"))) for name in old.keys() | new.keys()
    } - {"other"}
    return changes.pop() if len(changes) == 1 else "other"


def _formats(before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> Change:
    return FEWER(before or (), after or ())


def _other(before: Any, after: Any) -> Change:
    """Call no value stricter than another by itself."""
    return "other"


HIGHER = _ranked(lambda value: value)
LOWER = _ranked(lambda value: -value)
LOWER_NOT_NULL = _ranked(lambda value: float("-inf") if value is None else -value)
HIGHER_NOT_NULL = _ranked(lambda value: float("-inf") if value is None else value)
TRUE, FALSE = _ranked(bool), LOWER
MORE, FEWER = _held(wider_is_stricter=True), _held(wider_is_stricter=False)
REFUSE = _ranked(lambda value: value == "refuse")
ACTION = _ranked(lambda value: {"keep": 0, "delete": 2}.get(value, 1))  # what is left: all, something, nothing


@dataclass(frozen=True)
class Key:
    steps: str
    order: Order
    obeyed_by: str | None = None  # the room of sdk/ that reads the setting; None: RULES checks it


KEYS: dict[str, Key] = {
    "scrub.required": Key("scrub", TRUE),
    "scrub.recognizer": Key("scrub", _ranked(lambda value: value != "none"), "scrub"),
    "scrub.score_threshold": Key("scrub", LOWER, "scrub"),
    "scrub.min_recall": Key("scrub", HIGHER),
    "scrub.default_action": Key("scrub", ACTION, "scrub"),
    "scrub.actions": Key("scrub", _actions, "scrub"),
    "scrub.token_scope": Key("scrub", _ranked(["project", "patient", "document"].index), "scrub"),
    "scrub.reversible": Key("scrub", FEWER, "scrub"),
    "scrub.fields": Key("scrub", _other, "scrub"),
    "scrub.on_failure": Key("scrub", REFUSE, "scrub"),
    "scrub.row_seconds": Key("scrub", _other, "scrub"),
    "scrub.quasi_identifiers": Key("scrub", MORE, "scrub"),
    "scrub.min_k": Key("scrub", HIGHER),
    "scrub.max_miss_rate": Key("train, scrub", LOWER_NOT_NULL),
    "scrub.identifiers": Key("scrub", MORE, "scrub"),
    "train.methods": Key("train, probe, pilot", FEWER),
    "train.allow_hub": Key("init, train", FALSE),
    "evaluate.domain_floors": Key("evaluate", TRUE),
    "evaluate.min_questions": Key("evaluate", HIGHER),
    "evaluate.must_improve": Key("evaluate", TRUE),
    "evaluate.max_contamination": Key("train, benchmark", _ranked(lambda value: -1.0 if value is None else -value)),
    "evaluate.run_model_code": Key("benchmark", _ranked(lambda value: not value)),
    "evaluate.run_domain_code": Key("train, evaluate", _ranked(lambda value: not value)),
    "evaluate.forgetting": Key("register", _bounds),
    "leaks.required": Key("register", TRUE),
    "leaks.canaries": Key("scrub, leaks", HIGHER, "project"),
    "leaks.max_exposure_bits": Key("register", LOWER),
    "leaks.max_extracted": Key("register", LOWER),
    "leaks.max_auc": Key("register", LOWER),
    "leaks.max_tpr": Key("register", LOWER),
    "seal.encrypt": Key("seal", TRUE, "project"),
    "approve.reviews": Key("approve, load", HIGHER),
    "approve.approvals": Key("approve, load", HIGHER),
    "approve.trainer_may_approve": Key("approve, load", FALSE),
    "approve.separate_duties": Key("approve, load", TRUE),
    "approve.min_reason_length": Key("approve, load", HIGHER),
    "approve.valid_days": Key("approve, load", LOWER_NOT_NULL, "approve"),
    "export.formats": Key("export", _formats),
    "export.max_kl_mean": Key("export", LOWER_NOT_NULL),
    "export.max_kl_p99": Key("export", LOWER_NOT_NULL),
    "export.min_top1": Key("export", HIGHER_NOT_NULL),
    "export.min_same_answers": Key("export", HIGHER_NOT_NULL),
    "export.max_score_loss": Key("export", LOWER_NOT_NULL),
    "export.max_perplexity_ratio": Key("export", LOWER_NOT_NULL),
    "audit.retention_years": Key("audit", HIGHER, "audit"),
    "audit.unrecorded_training": Key("train", REFUSE, "project"),
}
