"""llama.cpp in a process of its own: what ends it does not end us, and its threads and memory are its own.

Requests: {"open": {"model", "adapter", "context", "threads"}}, {"next": {"prompts", "most", "plain"}} for the
most likely tokens behind each prompt of token ids, {"chat": {"conversations", "tokens"}} for greedy answers through the
file's own chat template.
"""

from __future__ import annotations

from typing import Any

import xllamacpp

from sdk.errors import StepFailed
from sdk.processes.isolated import answer
from sdk.records import OnProgress

_server: list[xllamacpp.Server] = []
_FORCED = 1000.0  # on a token whose text is whole: of one that is not, llama.cpp gives no probabilities


def work(request: dict[str, Any], on_progress: OnProgress) -> Any:
    ((kind, given),) = request.items()
    return {"open": _open, "next": _next, "chat": _chat}[kind](given, on_progress)


def _open(given: dict[str, Any], on_progress: OnProgress) -> str:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given["model"]
    if given["adapter"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(given["adapter"], 1.0)]
    parameters.n_ctx = given["context"]
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.verbosity = -1
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = given["threads"]
    try:
        _server[:] = [xllamacpp.Server(parameters)]
    except RuntimeError:
        raise StepFailed("llama.cpp does not load the exported file.") from None
    return str(getattr(xllamacpp, "__version__", ""))


def _next(given: dict[str, Any], on_progress: OnProgress) -> list[list[tuple[int, float]]]:
    found = []
    for done, prompt in enumerate(given["prompts"]):
        asked = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": given["most"],
            "temperature": 1.0,
            "cache_prompt": True,
            "logit_bias": [[given["plain"], _FORCED]],  # the probabilities are those before it
        }
        choice = _answered(_server[0].handle_completions(asked))
        likely = choice["logprobs"]["content"][0]["top_logprobs"]
        found.append([(each["id"], each["logprob"]) for each in likely])
        on_progress("parity", done + 1, len(given["prompts"]), {})
    return found


def _chat(given: dict[str, Any], on_progress: OnProgress) -> list[tuple[str, int]]:
    found = []
    for done, messages in enumerate(given["conversations"]):
        asked = {"messages": messages, "max_tokens": given["tokens"], "temperature": 0.0, "cache_prompt": True}
        result = _server[0].handle_chat_completions(asked)
        text = _answered(result)["message"]["content"] or ""
        found.append((text, int(result["usage"]["prompt_tokens"])))
        on_progress("parity", done + 1, len(given["conversations"]), {})
    return found


def _answered(result: Any) -> Any:
    """Return the one choice. StepFailed where llama.cpp answered with an error, whose text may quote what was asked."""
    if not isinstance(result, dict) or not result.get("choices"):
        raise StepFailed("llama.cpp answered a request with an error.")
    return result["choices"][0]


if __name__ == "__main__":
    answer(work)
