"""Conversations as token ids with a loss mask, through the base model's own chat template."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from sdk.data import Row, conversation, spoken
from sdk.data.template import ChatTemplate, Messages, Rendered
from sdk.errors import InvalidInput, by_cause
from sdk.model.training_template import training_template
from sdk.records import TrainSettings
from sdk.wording import counted

_OPENED = re.compile(r"<think>\s*\Z")  # a prompt behind which the base goes on with its thoughts
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = ({"role": "user", "content": "Which-one"}, {"role": "assistant", "content": "This-here"})


@dataclass(frozen=True)
class Encoded:
    """One conversation; in_loss marks the tokens that the model learns: messages and the token that ends each."""

    input_ids: list[int]
    in_loss: list[bool]

    @property
    def labels(self) -> list[int]:
        return [token if learned else -100 for token, learned in zip(self.input_ids, self.in_loss, strict=True)]


def cut_texts(rows: Sequence[Row], encoded: Sequence[Encoded], length: int) -> tuple[list[Encoded], list[int]]:
    """Cut running text into pieces of `length` tokens. Return them with all other rows, and each one's row's place."""
    pieces: list[Encoded] = []
    places: list[int] = []
    for place, (row, whole) in enumerate(zip(rows, encoded, strict=True)):
        cut = pieces_of(whole, length) if row.is_text else [whole]
        pieces += cut
        places += [place] * len(cut)
    return pieces, places


def pieces_of(text: Encoded, length: int) -> list[Encoded]:
    """Cut running text into pieces of `length` tokens.

    A piece begins with the token that the one before it ends with, so that each token of a text is learned behind
    another, and once.
    """
    ids = text.input_ids
    if len(ids) <= length:
        return [text]
    pieces = (ids[begin : begin + max(2, length)] for begin in range(0, len(ids) - 1, max(1, length - 1)))
    return [Encoded(piece, _all_but_first(len(piece))) for piece in pieces]


def _all_but_first(count: int) -> list[bool]:
    """Return the loss mask of running text: its first token follows nothing that it could be learned behind."""
    return [place > 0 for place in range(count)]


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
_CALL = {"type": "function", "function": {"name": "balance", "arguments": {"account": "one"}}}
_KINDS: dict[str, Messages] = {
    "several answers": [
        *_PROBE,
        {"role": "user", "content": "And-then"},
        {"role": "assistant", "content": "That-there"},
    ],
    "tool calls": [
        _PROBE[0],
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "content": "two", "name": "balance"},
        _PROBE[1],
    ],
}


class _RefusedByTemplateError(Exception):
    """Raised and caught here: the chat template does not take these messages."""


class Chat:
    """A tokenizer's chat template, with the way to find the answers in what it renders.

    Templates with a {% generation %} block mark the answers themselves. For others the one is used with which trl
    trains such a base, where there is one; what is asked of the model is always rendered by the base's own. Where
    nothing marks the answers, an answer is what follows the rendered prompt, if the prompt's tokens begin the whole, or
    its text where it stands.
    Raises InvalidInput where none of it works or where an answer ends with no token to stop at.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._special |= {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        texts = sorted((tokenizer.convert_ids_to_tokens(index) for index in self._special), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self._template = ChatTemplate(tokenizer.get_chat_template(), tokenizer.special_tokens_map)
        self._training, self._thought, self._header = self._template, "", ""
        self._use_training_template()
        self._marked = bool(_GENERATION.search(self._training.source))
        probe = self.encode(_PROBE)
        last = max((place for place, learned in enumerate(probe.in_loss) if learned), default=-1)
        if last < 0 or probe.input_ids[last] not in self._special:
            raise InvalidInput(
                "The chat template ends an answer with no special token, so a model could not learn to stop; "
                "let it end every answer with the end token, or take one by name (`sdk init --template`)."
            )
        self.stop_ids = tuple(sorted({probe.input_ids[last], *_ids(tokenizer.eos_token_id)}))

    @property
    def training_template(self) -> str | None:
        """Source of the template that marks the answers, where it is not the base's own."""
        return None if self._training is self._template else self._training.source

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done otherwise than the base's own template does it."""
        notes = []
        if self._template.folds_system:
            notes.append("The chat template takes no system message; it is put before the first question instead.")
        if self.training_template is not None:
            notes.append(
                "The chat template does not mark the answers; trl's template for this base marks them in training."
            )
        if self._thought:
            notes.append("The base is asked behind an opened thought; answers are trained behind an empty one.")
        return tuple(notes)

    def limits(self) -> tuple[str, ...]:
        """Try the kinds of conversations that not every template takes; say which rows will be refused."""
        return tuple(
            f"The chat template does not take {what}; rows with {what} will be refused."
            for what, messages in _KINDS.items()
            if not self._takes(messages)
        )

    def answer(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens without the thoughts before it."""
        channel = self.tokenizer.convert_tokens_to_ids("<|message|>")  # gpt-oss: the last message is the answer
        if channel in ids and channel in self._special:
            ids = ids[len(ids) - list(reversed(ids)).index(channel) :]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).rpartition("</think>")[2].strip()

    def _takes(self, messages: Messages) -> bool:
        try:
            return any(self.encode(messages).in_loss)
        except InvalidInput:
            return False

    def _use_training_template(self) -> None:
        """Take trl's template to train with if the base's own marks no answers, and what is asked still begins it."""
        try:
            asked, before = self._render(_PROBE[:1], prompt=True).text, self._render(_PROBE[:1]).text
        except _RefusedByTemplateError:
            return  # encoding the probe says what is wrong with it
        self._header = asked[len(before) :] if asked.startswith(before) else ""
        source = None if _GENERATION.search(self._template.source) else training_template(self._template.source)
        if source is None:
            return
        other = ChatTemplate(source, self.tokenizer.special_tokens_map)
        opened = _OPENED.search(asked)
        for thought in ("", f"{opened[0]}\n</think>\n\n") if opened else ("",):
            (whole,) = other.render([[_PROBE[0], {"role": "assistant", "content": f"{thought}{_PROBE[1]['content']}"}]])
            if whole is not None and whole.text.startswith(asked):
                self._training, self._thought = other, thought
                return

    def _completed(self, messages: Messages) -> Messages:
        """Return the messages as they are trained: where the base is asked behind an opened thought, it is closed."""
        if not self._thought:
            return messages
        opening = self._thought.partition("\n")[0] + "\n"
        return [
            {
                **message,
                "content": (opening if "</think>" in message["content"] else self._thought) + message["content"],
            }
            if message["role"] == "assistant"
            and message["content"]
            and not message["content"].startswith(opening.strip())
            else message
            for message in messages
        ]

    def encode(self, messages: Messages, learned: Learned = ANSWERS) -> Encoded:
        """Return token ids and loss mask of a conversation, or of running text, whatever of a conversation is learned.

        Raises InvalidInput, which never quotes it.
        """
        faults = self.faults(messages)
        if faults:
            raise InvalidInput("A conversation cannot be rendered.", faults)
        if messages and messages[0]["role"] == "text":
            return self._encode_text(messages[0]["content"])
        messages = self._completed(messages)
        try:
            rendered = self._render(messages)
            self._require_shown(messages, rendered.text)
            marked = self._marked
            encoded = self._encode_marked(rendered) if marked else self._encode_by_prefix(messages, rendered.text)
            encoded = self._ended(encoded)
            if learned.last_answer:
                return _last(encoded)
            return self._with_roles(messages, encoded, learned.roles) if learned != ANSWERS else encoded
        except (_RefusedByTemplateError, TypeError, ValueError, IndexError):
            raise InvalidInput(
                "The chat template refuses these roles: " + ", ".join(m["role"] for m in messages)
            ) from None

    def encode_many(
        self, conversations: Sequence[Messages], learned: Learned = ANSWERS
    ) -> list[Encoded | InvalidInput]:
        """Encode each as encode() does, or return what that raises. Most are rendered and tokenized in one call."""
        encoded: dict[int, Encoded] = {}
        if self._marked and learned.roles == ANSWERS.roles:
            sound = [
                place
                for place, messages in enumerate(conversations)
                if messages[0]["role"] != "text" and not self.faults(messages)
            ]
            encoded = self._encode_together({place: self._completed(conversations[place]) for place in sound}, learned)
        return [encoded.get(place) or self._encoded(messages, learned) for place, messages in enumerate(conversations)]

    def _encode_together(self, conversations: Mapping[int, Messages], learned: Learned) -> dict[int, Encoded]:
        """Encode conversations whose template marks the answers, without those that have to be looked at one by one."""
        try:
            rendered = zip(conversations, self._training.render([*conversations.values()]), strict=True)
        except InvalidInput:  # one of them is too much for the template
            return {}
        usual = {
            place: each
            for place, each in rendered
            if each is not None and all(_shows_as_it_is(message, each.text) for message in conversations[place])
        }
        tokenizer = self.tokenizer.backend_tokenizer
        tokenizer.no_padding()  # nor is anything cut; so does each call of the tokenizer itself
        tokenizer.no_truncation()
        tokens = tokenizer.encode_batch([each.text for each in usual.values()], add_special_tokens=False)
        encoded = {
            place: self._ended(self._masked(*each, one.ids, one.offsets))
            for (place, each), one in zip(usual.items(), tokens, strict=True)
        }
        return {place: _last(each) for place, each in encoded.items()} if learned.last_answer else encoded

    def _encoded(self, messages: Messages, learned: Learned) -> Encoded | InvalidInput:
        try:
            return self.encode(messages, learned)
        except InvalidInput as error:
            return error

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

    def continued(self, messages: Messages, text: str) -> Encoded:
        """Return a question with a text where its answer begins; the text alone is in the loss, without an end.

        It is split as lm-evaluation-harness splits a context and its continuation (`TemplateLM._encode_pair`): white
        space at the prompt's end counts with the text. Raises InvalidInput.
        """
        self.prompt_ids(messages)  # which refuses what cannot be asked
        prompt = self._render(messages, prompt=True).text
        whole = list(self.tokenizer(prompt + text, add_special_tokens=False)["input_ids"])
        before = len(self.tokenizer(prompt.rstrip(), add_special_tokens=False)["input_ids"])
        return Encoded(whole, [place >= before for place in range(len(whole))])

    def faults(self, messages: Messages) -> list[str]:
        """Return the messages whose text the tokenizer would read as its own control tokens."""
        return [
            f"message {place} holds a control token of the base model; take it out"
            for place, message in enumerate(messages)
            if self._control.search(spoken(message))
        ]

    def _encode_text(self, text: str) -> Encoded:
        """Return running text without any template: all of it is learned, and the token that ends it."""
        tokenizer = self.tokenizer
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        begin = tokenizer.bos_token_id
        if begin is not None and tokenizer("a")["input_ids"][0] == begin:
            ids.insert(0, begin)
        ids.append(next(iter(_ids(tokenizer.eos_token_id)), self.stop_ids[0]))
        return Encoded(ids, _all_but_first(len(ids)))

    def _require_shown(self, messages: Messages, text: str) -> None:
        """Raise InvalidInput where the template leaves out a message, or a part of a tool call, without a word."""
        faults = [
            f"message {place}: the chat template does not show its {part}, so it would not be learned; leave the row "
            "out, or use a base whose template does"
            for place, message in enumerate(messages)
            if not _shows_as_it_is(message, text)
            for part, words, other in _parts(message)
            if not all(_stands_in(word, text) for word in words)
            and self._is_same([*messages[:place], other, *messages[place + 1 :]], text)
        ]
        if faults:
            raise InvalidInput("A conversation cannot be rendered whole.", faults)

    def _is_same(self, messages: Messages, text: str) -> bool:
        """Tell whether another conversation is rendered as the same text."""
        try:
            return self._text(messages) == text
        except _RefusedByTemplateError:
            return False

    def _render(self, messages: Messages, prompt: bool = False) -> Rendered:
        if not messages:
            raise _RefusedByTemplateError
        (rendered,) = (self._template if prompt else self._training).render([messages], prompt)
        if rendered is None:
            raise _RefusedByTemplateError
        return rendered

    def _ids(self, messages: Messages, prompt: bool) -> list[int]:
        return list(self.tokenizer(self._render(messages, prompt).text, add_special_tokens=False)["input_ids"])

    def _encode_marked(self, rendered: Rendered) -> Encoded:
        tokens = self.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
        return self._masked(*rendered, tokens["input_ids"], tokens["offset_mapping"])

    def _masked(
        self, text: str, answers: list[tuple[int, int]], ids: Sequence[int], places: Sequence[tuple[int, int]]
    ) -> Encoded:
        """Take the answers of a rendered conversation into the loss. places: of each token in the text."""
        answers = [(begin + self._asked(text, begin), end) for begin, end in answers]
        # The first answer that ends behind the token; answers and tokens are both in order.
        waiting = iter([*answers, (math.inf, math.inf)])
        first, last = next(waiting)
        in_loss: list[bool] = []
        for begin, end in places:
            while begin >= last:
                first, last = next(waiting)
            in_loss.append(end > first)
        self._drop_after_end(text, ids, places, in_loss)
        return Encoded(list(ids), in_loss)

    def _asked(self, text: str, begin: int) -> int:
        """Return how many characters of an answer's block the model is asked with, so that they are no part of it."""
        if text[:begin].endswith(self._header):
            return 0
        sizes = range(len(self._header), 0, -1)
        return next((size for size in sizes if text.startswith(self._header[-size:], begin)), 0)

    def _drop_after_end(
        self, text: str, ids: Sequence[int], places: Sequence[tuple[int, int]], in_loss: list[bool]
    ) -> None:
        """Take out of the loss the white space that a block has behind the token that ends the answer."""
        for first, behind in _runs(in_loss):
            for token in range(behind - 1, first, -1):
                if ids[token] in self._special:
                    break
                begin, end = places[token]
                if text[begin:end].strip() or not self._ends_before(ids, places, text, token):
                    break
                in_loss[token] = False

    def _ends_before(self, ids: Sequence[int], places: Sequence[tuple[int, int]], text: str, token: int) -> bool:
        """Tell whether nothing but white space stands between a special token and this one."""
        before = token - 1
        while before > 0 and ids[before] not in self._special and not text[slice(*places[before])].strip():
            before -= 1
        return ids[before] in self._special

    def _encode_by_prefix(self, messages: Messages, text: str) -> Encoded:
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        whole = list(tokens["input_ids"])
        in_loss = [False] * len(whole)
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._ids(messages[:place], prompt=True)
            after = self._ids(messages[: place + 1], prompt=False)
            if whole[: len(before)] == before and whole[: len(after)] == after and len(after) > len(before):
                special = (i for i in range(len(before), len(after)) if whole[i] in self._special)
                end = max(special, default=len(after) - 1)
                in_loss[len(before) : end + 1] = [True] * (end + 1 - len(before))
                continue
            # What the last answer is asked with has to be what it is trained behind. An earlier one is found by its
            # text: templates that show thoughts do so in the last answer only.
            if place == len(messages) - 1:
                raise InvalidInput(
                    "The chat template has no {% generation %} block, and its prompt does not begin the whole "
                    "conversation, so the answers cannot be found; put the block around the assistant's text."
                )
            if message.get("tool_calls"):
                raise InvalidInput(
                    "The chat template has no {% generation %} block, and what it shows of a tool call changes with "
                    "what follows, so it cannot be told what to learn; put the block around the assistant's text."
                )
            _learn(in_loss, tokens["offset_mapping"], self._span(messages, place, text))
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
            _learn(in_loss, tokens["offset_mapping"], self._span(messages, place, text))
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
        for _, behind in _runs(encoded.in_loss):
            if behind < len(ids) and ids[behind] in self._special and ids[behind - 1] not in self._special:
                in_loss[behind] = True
        return Encoded(ids, in_loss)


def _runs(in_loss: list[bool]) -> list[tuple[int, int]]:
    """Return where each run of learned tokens begins, and where it has ended."""
    runs: list[tuple[int, int]] = []
    end = 0
    while True:
        try:
            begin = in_loss.index(True, end)
        except ValueError:
            return runs
        end = in_loss.index(False, begin) if False in in_loss[begin:] else len(in_loss)
        runs.append((begin, end))


class Unusable:
    """Rows that cannot be trained: how many of them by cause, and what is wrong with each."""

    def __init__(self) -> None:
        self.causes: Counter[str] = Counter()
        self.faults: list[str] = []

    def add(self, other: Unusable) -> None:
        self.causes.update(other.causes)
        self.faults += other.faults

    def refuse(self, rows: int) -> None:
        """Raise InvalidInput where there are any among so many rows."""
        if not self.faults:
            return
        causes = ", ".join(f"{count:,} {cause}" for cause, count in self.causes.items())
        raise InvalidInput(
            f"{self.causes.total():,} of {counted(rows, 'row')} cannot be used; none is cut or left out: {causes}.",
            by_cause(self.faults),
        )


class NamedChat(NamedTuple):
    """A conversation, or running text, with its row's id."""

    id: str
    messages: Messages

    @property
    def is_text(self) -> bool:
        return bool(self.messages[0]["role"] == "text")


def encode_chats(
    chat: Chat, chats: Sequence[NamedChat], max_length: int, learned: Learned
) -> tuple[list[Encoded], Unusable]:
    """Encode conversations in the order given, without those that cannot be encoded. Running text is whole."""
    encoded, unusable = [], Unusable()
    items = chat.encode_many([each.messages for each in chats], learned)
    for (row, messages), item in zip(chats, items, strict=True):
        if isinstance(item, InvalidInput):
            unusable.faults += [f"row {row}: {fault}" for fault in item.faults or (item.message,)]
            held = bool(chat.faults(messages))
            unusable.causes["with control tokens of the base" if held else "that its chat template does not take"] += 1
            continue
        if len(item.input_ids) > max_length and messages[0]["role"] != "text":
            unusable.causes[f"longer than {max_length} tokens"] += 1
            unusable.faults.append(
                f"row {row}: {len(item.input_ids)} tokens; shorten or split it, or raise max_length if the model can"
            )
        elif not any(item.in_loss):
            unusable.causes["without a token to learn"] += 1
            unusable.faults.append(
                f"row {row}: no token is left to learn; check its {' and '.join(learned.roles)} messages"
            )
        encoded.append(item)
    return encoded, unusable


def encode_rows(
    chat: Chat, rows: Sequence[Row], prompt: str, max_length: int, learned: Learned = ANSWERS
) -> list[Encoded]:
    """Return every row as token ids with its loss mask, in the order given. Running text is whole: see cut_texts().

    Raises InvalidInput that lists, by id, every conversation that is longer than max_length tokens, has nothing to
    learn or cannot be rendered; none is ever cut.
    """
    chats = [NamedChat(row.id, conversation(row, prompt)) for row in rows]
    encoded, unusable = encode_chats(chat, chats, max_length, learned)
    unusable.refuse(len(rows))
    return encoded


def _parts(message: Mapping[str, Any]) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Yield what has to be shown of a message: what an error calls it, its words, and a message with others instead.

    Of an answer that thinks aloud, what follows the thoughts: templates leave the thoughts of earlier answers out.
    """
    thoughts, end, text = message["content"].rpartition("</think>")
    thoughts, text = (thoughts + end, text) if message["role"] == "assistant" else ("", message["content"])
    yield "text", [text.strip()], {**message, "content": f"{thoughts}{secrets.token_hex(16)}"}
    calls = message.get("tool_calls") or []
    for place, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        for part, words, changed in (
            ("tool call", [name], {"name": secrets.token_hex(16), "arguments": arguments}),
            ("tool call's arguments", list(_leaves(arguments)), {"name": name, "arguments": {}}),
        ):
            other = [*calls[:place], {**call, "function": changed}, *calls[place + 1 :]]
            yield part, words, {**message, "tool_calls": other}


def _shows_as_it_is(message: Mapping[str, Any], text: str) -> bool:
    """Tell of most messages, without making parts of them, that all of it stands in the text."""
    return not message.get("tool_calls") and message["content"] in text


def _leaves(value: Any) -> Iterator[str]:
    """Yield all names and values of a tool call's arguments."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value.strip()


def _stands_in(words: str, text: str) -> bool:
    """Tell whether words stand in a text, as they are or as JSON."""
    return words in text or any(
        json.dumps(words, ensure_ascii=ascii_only)[1:-1] in text for ascii_only in (True, False)
    )


def _learn(in_loss: list[bool], places: Sequence[tuple[int, int]], span: tuple[int, int]) -> None:
    """Take the tokens into the loss that lie in a span of characters, whole or in part."""
    begin, end = span
    for token, (first, last) in enumerate(places):
        in_loss[token] |= first < end and last > begin


def _last(encoded: Encoded) -> Encoded:
    """Keep the last run of learned tokens only."""
    end = max((place for place, learned in enumerate(encoded.in_loss) if learned), default=-1)
    begin = max((place for place in range(end) if not encoded.in_loss[place]), default=-1)
    return Encoded(encoded.input_ids, [begin < place <= end for place in range(len(encoded.in_loss))])


def _ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)
