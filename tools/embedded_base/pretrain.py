"""Makes the embedded base from nothing: generates text, trains a tokenizer and a tiny Llama on it, writes a folder.

    python -m tools.embedded_base.pretrain --out DIR

The same seed and number of workers give the same text in the same order. A CPU run with few `--steps` shows that it
works; the shipped weights took one GPU some minutes (sdk/base/README.md).
"""

# A command that prints its progress.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.embedded_base import words
from tools.embedded_base.maker import LEVEL_1, Maker
from tools.embedded_base.world import Turn, World, conversation

PAD, BOS, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
# The trainer gives the special tokens the first ids, in this order.
SPECIAL = [PAD, BOS, END, SYSTEM, USER, ASSISTANT]
ROLE = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "text": ""}
CHAT_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|assistant|>' }}{%- generation %}{{- message['content'] + eos_token }}{%- endgeneration %}"
    "{%- elif message['role'] in ['system', 'user'] %}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{%- else %}{{- raise_exception('unknown role: ' + message['role']) }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
# Placeholders whole, Chinese one character at a time, capitals and digits one by one: a term is cut the same way
# wherever it stands.
PIECES = r"<[A-Z][A-Z_0-9]*>|\p{Han}| ?[A-Z]?[a-z]+| ?[A-Z]| ?[0-9]| ?[^\s\p{L}\p{N}<]+|\s+(?!\S)|\s|\p{L}"
ROW = 512
LONGEST = 1024
PROMPT_WEIGHT = 0.15
"""Loss weight of tokens that the model does not have to write; an answer's tokens weigh 1."""


def render(turns: list[Turn]) -> str:
    return BOS + "".join(ROLE[role] + content + END for role, content in turns)


def train_tokenizer(vocabulary: int, world: World, seed: int) -> Tokenizer:
    """Byte-level BPE: 256 bytes, the special tokens, and merges learned from the generated text and the word lists."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    maker = Maker(seed)
    text = [content for _ in range(20_000) for _, content in conversation(maker, world)]
    text += [f"{word} {word}" for word in words.ENGLISH_WORDS] * 30 + [f"<{kind}>" for kind in words.PLACEHOLDERS] * 500
    text += list(words.COMMON_CHARACTERS) * 60 + words.CHINESE_WORDS * 20 + list(LEVEL_1)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


class Rows(IterableDataset[torch.Tensor]):
    """Endless batches `(batch, ROW)` of token ids, documents packed one after another, each beginning with BOS."""

    def __init__(self, tokenizer: Tokenizer, world: World, batch: int, seed: int) -> None:
        self.tokenizer, self.world, self.batch, self.seed = tokenizer, world, batch, seed

    def _documents(self, maker: Maker) -> Iterator[list[int]]:
        first, size = len(SPECIAL), self.tokenizer.get_vocab_size()
        bos, end, user, assistant = (SPECIAL.index(token) for token in (BOS, END, USER, ASSISTANT))
        while True:
            drawn = [render(conversation(maker, self.world)) for _ in range(400)]
            documents = [encoded.ids for encoded in self.tokenizer.encode_batch_fast(drawn, add_special_tokens=False)]
            for _ in range(16):  # random tokens, copied: every token is read and written, also those that no word needs
                drill = maker.rng.choices(range(first, size), k=maker.rng.randint(2, 20))
                copied = [bos, user, *drill, end, assistant, *drill, end]
                documents.insert(maker.rng.randrange(400), copied)
            yield from documents

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        documents = self._documents(Maker(self.seed * 1000 + 1 + (worker.id if worker else 0)))
        pad = SPECIAL.index(PAD)
        while True:
            rows = np.full((self.batch, ROW), pad, dtype=np.int64)
            for row in rows:
                used = 0
                while used < ROW - 24:
                    document = next(documents)[: ROW - used]
                    row[used : used + len(document)] = document
                    used += len(document)
            yield torch.from_numpy(rows)


def weighted_loss(model: LlamaForCausalLM, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Next-token loss of packed rows `ids` (batch, ROW), whose documents do not see each other.

    Returns the weighted mean, and the plain mean over the tokens of answers.
    """
    index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    starts = torch.where(ids == SPECIAL.index(BOS), index, 0).cummax(dim=1).values
    document = (ids == SPECIAL.index(BOS)).cumsum(dim=1)
    visible = (document[:, None, :, None] == document[:, None, None, :]) & (
        index[:, None, :, None] >= index[:, None, None, :]
    )
    logits = model(input_ids=ids, attention_mask=visible, position_ids=index - starts, use_cache=False).logits
    marks = (ids == SPECIAL.index(BOS)) | ((ids >= SPECIAL.index(SYSTEM)) & (ids <= SPECIAL.index(ASSISTANT)))
    role = ids.gather(1, torch.where(marks, index, 0).cummax(dim=1).values)
    target = ids[:, 1:]
    answers = (
        (role[:, :-1] == SPECIAL.index(ASSISTANT))
        & (target != SPECIAL.index(BOS))
        & ~marks[:, 1:]
        & (target != SPECIAL.index(PAD))
    )
    weights = torch.where(answers, 1.0, PROMPT_WEIGHT) * (target != SPECIAL.index(PAD)) * (target != SPECIAL.index(BOS))
    losses = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), target.flatten(), reduction="none").view_as(
        target
    )
    return (losses * weights).sum() / weights.sum(), (losses * answers).sum() / answers.sum()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 300 steps, flat, then linearly to zero over the last 40 %."""
    return peak * min(1.0, (step + 1) / min(300, max(1, steps // 5)), (steps - step) / (0.4 * steps))


def train(model: LlamaForCausalLM, rows: Rows, args: argparse.Namespace) -> dict[str, float]:
    device = torch.device(args.device)
    model.to(device).train()
    decayed = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.95), fused=device.type == "cuda",
    )  # fmt: skip
    loss_of = torch.compile(weighted_loss) if device.type == "cuda" else weighted_loss
    loader = DataLoader(
        rows,
        batch_size=None,
        num_workers=args.workers,
        prefetch_factor=8 if args.workers else None,
        pin_memory=device.type == "cuda",
    )
    started, batches, answers = time.monotonic(), iter(loader), torch.tensor(math.nan)
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - 1, args.steps, args.lr)
        ids = next(batches).to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, answers = loss_of(model, ids)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % args.log_every == 0 or step == args.steps:
            elapsed = time.monotonic() - started
            speed = f"{step * ids.numel() / elapsed:,.0f} tokens/s {elapsed:.0f} s"
            print(f"step {step}/{args.steps} loss {loss.item():.3f} answers {answers.item():.3f} {speed}", flush=True)
    return {
        "steps": args.steps,
        "tokens": args.steps * args.batch * ROW,
        "seconds": round(time.monotonic() - started),
        "answer_loss": round(answers.item(), 4),
    }


def build_model(args: argparse.Namespace) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        intermediate_size=args.intermediate,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL.index(PAD),
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(END),
    )
    return LlamaForCausalLM(config)


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Writes the weights in bfloat16 with the tokenizer, the chat template and greedy generation defaults."""
    out.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        model_max_length=LONGEST,
        padding_side="right",
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(out)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=64,
        pad_token_id=SPECIAL.index(PAD),
        bos_token_id=SPECIAL.index(BOS),
        eos_token_id=SPECIAL.index(END),
    )
    model.to(device="cpu", dtype=torch.bfloat16).save_pretrained(out)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--steps", type=int, default=13_900)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=128, help=f"rows of {ROW} tokens a step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=6, help="processes that generate text")
    parser.add_argument("--facts", type=int, default=50_000, help="made-up facts to memorize")
    parser.add_argument("--vocabulary", type=int, default=4608)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--intermediate", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--log-every", type=int, default=250)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    world = World(args.seed, args.facts)
    tokenizer = train_tokenizer(args.vocabulary, world, args.seed)
    model = build_model(args)
    made = train(model, Rows(tokenizer, world, args.batch, args.seed), args)
    save(model, tokenizer, args.out)
    print(json.dumps({**made, "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
