"""The evaluation step: questions for the base model and for the adapted one."""

from sdk.evaluate.own_questions import QUESTIONS_AT_ONCE, Evaluation, ask, evaluate, mean_losses

__all__ = ["QUESTIONS_AT_ONCE", "Evaluation", "ask", "evaluate", "mean_losses"]
