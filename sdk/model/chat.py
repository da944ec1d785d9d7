"""Conversations as token ids with a loss mask, through the base model's own chat template."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from sdk.data import Row, conversation, spoken
from sdk.data.template import ChatTemplate, Messages, Rendered
from sdk.errors import InvalidInput
from sdk.records import TrainSettings

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


@dataclass(frozen=True)
class Encoded:
    """One conversation; in_loss marks the tokens that the model learns: messages and the token that ends each."""

    input_ids: list[int]
    in_loss: list[bool]

    @property
    def labels(self) -> list[int]:
        return [token if learned else -100 for token, learned in zip(self.input_ids, self.in_loss, strict=True)]


@dataclass(frozen=True)
class Learned:
    """Whose messages the model learns, or of each conversation the last answer only."""

    roles: tuple[str, ...] = ("assistant",)
    last_answer: bool = False


def learned(settings: TrainSettings) -> Learned:
    """InvalidInput where the settings ask for the last answer only and for other messages."""
    roles = tuple(sorted(set(settings.roles_to_train)))
    if settings.completion_only_loss and roles != ("assistant",):
        raise InvalidInput(
            "completion_only_loss learns the last answer only, so roles_to_train has to be assistant; leave one out."
        )
    return Learned(roles, settings.completion_only_loss)


ANSWERS = Learned()


class _RefusedByTemplateError(Exception):
    """Raised and caught here: the chat template does not take these messages."""


class Chat:
    """A tokenizer's chat template, with the way to find the answers in what it renders.

    Templates with a {% generation %} block mark the answers themselves. Others mark nothing: there an answer is what
    follows the rendered prompt, which holds only where the prompt's tokens begin the whole, so it is checked.
    Raises InvalidInput where neither works or where an answer ends with no token to stop at.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._special |= {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        texts = sorted((tokenizer.convert_ids_to_tokens(index) for index in self._special), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self._template = ChatTemplate(tokenizer.get_chat_template(), tokenizer.special_tokens_map)
        self._marked = bool(_GENERATION.search(self._template.source))
        probe = self.encode(_PROBE)
        last = max((place for place, learned in enumerate(probe.in_loss) if learned), default=-1)
        if last < 0 or probe.input_ids[last] not in self._special:
            raise InvalidInput(
                "The chat template ends an answer with no special token, so a model could not learn to stop; "
                "let it end every answer with the end token."
            )
        self.stop_ids = tuple(sorted({probe.input_ids[last], *_ids(tokenizer.eos_token_id)}))

    def encode(self, messages: Messages, learned: Learned = ANSWERS) -> Encoded:
        """Return token ids and loss mask of a conversation. Raises InvalidInput, which never quotes it."""
        faults = self.faults(messages)
        if faults:
            raise InvalidInput("A conversation cannot be rendered.", faults)
        try:
            encoded = self._encode_marked(messages) if self._marked else self._encode_by_prefix(messages)
            encoded = self._ended(encoded)
            if learned.last_answer:
                return _last(encoded)
            return self._with_roles(messages, encoded, learned.roles) if learned != ANSWERS else encoded
        except (_RefusedByTemplateError, TypeError, ValueError, IndexError):
            raise InvalidInput(
                "The chat template refuses these roles: " + ", ".join(m["role"] for m in messages)
            ) from None

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Return token ids of a conversation whose next turn is the assistant's."""
        faults = self.faults(messages)
        if faults:
            raise InvalidInput("A conversation cannot be rendered.", faults)
        try:
            return self._ids(messages, prompt=True)
        except (_RefusedByTemplateError, TypeError, ValueError, IndexError):
            raise InvalidInput(
                "The chat template refuses these roles: " + ", ".join(m["role"] for m in messages)
            ) from None

    def faults(self, messages: Messages) -> list[str]:
        """Return the messages whose text the tokenizer would read as its own control tokens."""
        return [
            f"message {place} holds a control token of the base model; take it out"
            for place, message in enumerate(messages)
            if self._control.search(spoken(message))
        ]

    def _render(self, messages: Messages, prompt: bool = False) -> Rendered:
        if not messages:
            raise _RefusedByTemplateError
        (rendered,) = self._template.render([messages], prompt)
        if rendered is None:
            raise _RefusedByTemplateError
        return rendered

    def _ids(self, messages: Messages, prompt: bool) -> list[int]:
        return list(self.tokenizer(self._render(messages, prompt).text, add_special_tokens=False)["input_ids"])

    def _encode_marked(self, messages: Messages) -> Encoded:
        text, answers = self._render(messages)
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        in_loss = [False] * len(tokens["input_ids"])
        place = 0  # of the first answer that ends behind the token; answers and tokens are both in order
        for token, (begin, end) in enumerate(tokens["offset_mapping"]):
            while place < len(answers) and begin >= answers[place][1]:
                place += 1
            in_loss[token] = place < len(answers) and end > answers[place][0]
        return Encoded(list(tokens["input_ids"]), in_loss)

    def _encode_by_prefix(self, messages: Messages) -> Encoded:
        whole = self._ids(messages, prompt=False)
        in_loss = [False] * len(whole)
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._ids(messages[:place], prompt=True)
            after = self._ids(messages[: place + 1], prompt=False)
            if whole[: len(before)] != before or whole[: len(after)] != after or len(after) <= len(before):
                raise InvalidInput(
                    "The chat template has no {% generation %} block, and its prompt does not begin the whole "
                    "conversation, so the answers cannot be found; put the block around the assistant's text."
                )
            end = max((i for i in range(len(before), len(after)) if whole[i] in self._special), default=len(after) - 1)
            in_loss[len(before) : end + 1] = [True] * (end + 1 - len(before))
        return Encoded(whole, in_loss)

    def _with_roles(self, messages: Messages, answers: Encoded, roles: Sequence[str]) -> Encoded:
        """Other roles' messages are found by their text, so each has to stand in what is rendered as it is."""
        text = self._text(messages)
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if list(tokens["input_ids"]) != answers.input_ids:
            raise InvalidInput("The tokenizer reads a rendered conversation differently; learn the assistant only.")
        in_loss = [learned and "assistant" in roles for learned in answers.in_loss]
        for place, message in enumerate(messages):
            if message["role"] == "assistant" or message["role"] not in roles:
                continue
            begin, end = self._span(messages, place, text)
            for token, (first, last) in enumerate(tokens["offset_mapping"]):
                in_loss[token] |= first < end and last > begin
        return self._ended(Encoded(answers.input_ids, in_loss))

    def _span(self, messages: Messages, place: int, text: str) -> tuple[int, int]:
        """Find where a message's text stands in the rendered conversation, found by rendering another in its place."""
        mark = secrets.token_hex(16)
        other = [*messages[:place], {**messages[place], "content": mark}, *messages[place + 1 :]]
        before, _, after = self._text(other).partition(mark)
        content = messages[place]["content"]
        for shown in (content, content.strip()):
            if text == before + shown + after:
                return len(before), len(before) + len(shown)
        raise InvalidInput(
            f"The chat template changes the {messages[place]['role']}'s text, so it cannot be told what to learn; "
            "leave this role out of roles_to_train, or use a template that shows it as it is."
        )

    def _text(self, messages: Messages) -> str:
        return self._render(messages).text

    def _ended(self, encoded: Encoded) -> Encoded:
        """Take the token that ends an answer into the loss where a template leaves it outside the answer's block."""
        ids, in_loss = encoded.input_ids, list(encoded.in_loss)
        for place in range(1, len(ids)):
            if (
                in_loss[place - 1]
                and not in_loss[place]
                and ids[place] in self._special
                and ids[place - 1] not in self._special
            ):
                in_loss[place] = True
        return Encoded(ids, in_loss)


def encode_rows(
    chat: Chat, rows: Sequence[Row], prompt: str, max_length: int, learned: Learned = ANSWERS
) -> list[Encoded]:
    """Return every row as token ids with its loss mask, in the order given; nothing is ever cut.

    Raises InvalidInput that lists, by id, every row that is longer than max_length tokens, has nothing to learn or
    cannot be rendered.
    """
    encoded, faults = [], []
    for row in rows:
        try:
            item = chat.encode(conversation(row, prompt), learned)
        except InvalidInput as error:
            faults += [f"row {row.id}: {fault}" for fault in error.faults or (error.message,)]
            continue
        if len(item.input_ids) > max_length:
            faults.append(
                f"row {row.id}: {len(item.input_ids)} tokens; shorten or split it, or raise max_length if the model can"
            )
        elif not any(item.in_loss):
            faults.append(f"row {row.id}: no token is left to learn; check its {' and '.join(learned.roles)} messages")
        encoded.append(item)
    if faults:
        raise InvalidInput(
            f"{len(faults)} of {len(rows)} rows cannot be used with at most {max_length} tokens; none is cut.", faults
        )
    return encoded


def _last(encoded: Encoded) -> Encoded:
    """Keep the last run of learned tokens only."""
    end = max((place for place, learned in enumerate(encoded.in_loss) if learned), default=-1)
    begin = max((place for place in range(end) if not encoded.in_loss[place]), default=-1)
    return Encoded(encoded.input_ids, [begin < place <= end for place in range(len(encoded.in_loss))])


def _ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)
