"""Which chat template a project renders with, settled when it is made: the base's own, or one by name."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from sdk.data.base_folder import BaseFolder
from sdk.data.named_templates import CHATML_TOKENS, template_for, template_source
from sdk.errors import InvalidInput
from sdk.model.base_model import has_template, read_json
from sdk.model.base_tokenizer import check_vocabulary, opened_tokenizer
from sdk.model.chat import Chat
from sdk.records import NamedTemplate


def settle_chat(
    opened: BaseFolder, named: str | None, languages: Sequence[str]
) -> tuple[NamedTemplate | None, tuple[str, ...]]:
    """Return the template that is used instead of the base's own, if one is, and what to know of how rows are rendered.

    named: by the user, one of TEMPLATES; languages: the domain's. Raises InvalidInput with the reason where the base
    cannot be trained with it: its tokenizer is another model's, has no end token or lacks a template's tokens, or the
    answers cannot be found.
    """
    tokenizer = opened_tokenizer(opened)
    config = read_json(opened, "config.json", [])
    text = config.get("text_config") or config
    if isinstance(text.get("vocab_size"), int):
        check_vocabulary(opened.path, tokenizer, text, text["vocab_size"])
    own = has_template(opened)
    if named is None and own:
        template = None
    else:
        template = _named(opened, tokenizer, named or template_for(languages), _reason(named, own, languages))
        tokenizer.chat_template = template.source
    chat = Chat(tokenizer)
    return template, (*chat.notes, *chat.limits())


def _reason(named: str | None, own: bool, languages: Sequence[str]) -> str:
    if named is None:
        return f"the base has none, and the domain's first language is {languages[0]}"
    return "named by the user, in the place of the base's own" if own else "named by the user"


def _named(opened: BaseFolder, tokenizer: PreTrainedTokenizerBase, name: str, reason: str) -> NamedTemplate:
    if tokenizer.eos_token_id is None:
        raise InvalidInput(
            f"{opened.path}: its tokenizer names no end token, so a model could not learn to stop; name one of its "
            "tokens as eos_token in tokenizer_config.json."
        )
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    missing = [token for token in CHATML_TOKENS if token not in special]
    if name == "chatml" and missing:
        raise InvalidInput(
            f"{opened.path}: its tokenizer has no {' and no '.join(missing)}, and tokens that are added would have to "
            "be trained from nothing; use --template alpaca, alpaca-zh or plain, which need none."
        )
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return NamedTemplate(name=name, source=template_source(name, begins), reason=reason)
