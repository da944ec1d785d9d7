"""A base's tokenizer and chat text, without its weights and without the libraries that load those."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sdk.data.base_folder import Base, BaseFolder, private_copy
from sdk.errors import InvalidInput
from sdk.model.base_model import open_base
from sdk.model.chat import Chat


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a base's folder; where it has no padding token, the end token pads."""
    with BaseFolder(folder) as opened:
        return opened_tokenizer(opened)


def opened_tokenizer(opened: BaseFolder) -> PreTrainedTokenizerBase:
    """Load the tokenizer of an opened base, as load_tokenizer() does."""
    with private_copy(opened) as private:
        return tokenizer_from(opened.path, private)


def tokenizer_from(folder: Path, private: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            private, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"{folder}: its tokenizer cannot be loaded ({type(error).__name__}); fetch it again."
        ) from error
    if not tokenizer.is_fast:
        raise InvalidInput(f"{folder}: its tokenizer has no fast version; save one as tokenizer.json.")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise InvalidInput(
                f"{folder}: its tokenizer names no end token (eos_token); add it to tokenizer_config.json."
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.name_or_path = str(folder)  # the private copy is gone soon
    return tokenizer


def load_chat(base: Base, template: str | None = None) -> Chat:
    """Load the chat text of a base model, without its weights. template: source of the one instead of its own."""
    with open_base(base, needs_template=template is None) as opened:
        opened.template = template or opened.template
        return Chat(opened_tokenizer(opened))


def check_vocabulary(folder: Path, tokenizer: PreTrainedTokenizerBase, text: Mapping[str, Any], rows: int) -> None:
    """Raise InvalidInput where the tokenizer is that of another base, as far as that shows.

    text: config.json of the language model; rows: of its embeddings.
    """
    faults = []
    highest = max(len(tokenizer) - 1, *tokenizer.get_vocab().values())
    if highest >= rows:
        faults.append(f"its tokenizer has {highest + 1} tokens, the model only {rows}")
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    for name in ("bos_token_id", "eos_token_id"):
        value = text.get(name)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        faults += [
            f"config.json says {name} {index}, which is an ordinary token or none in its tokenizer"
            for index in ids
            if index not in special
        ]
    if faults:
        raise InvalidInput(
            f"{folder}: tokenizer and model do not belong together; take both from one release, or resize the "
            "embeddings and save the model again.",
            faults,
        )
