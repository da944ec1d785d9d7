"""Train the weights that ship further, on genres they lacked: `python -m tools.name_tagger.further --data FOLDER`.

FOLDER is that of train.py, with `pubmedqa_labeled.json` beside the three sets or named by --abstracts. Three eighths
of its abstracts are trained on, as text that names almost nobody, one is to tune on, half is to measure on. What the
network said of the old passages it is taught to go on saying; minutes on one core, the same weights each time.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sdk.scrub.find.tagger.name_recognizer import WEIGHTS, NameTagger
from sdk.scrub.find.tagger.network import Network
from sdk.scrub.find.tagger.tokens import LEXICONS, MOST_FEATURES, tokenize
from tools.name_tagger.corpus import Document, Filler, Names, noisy
from tools.name_tagger.train import (
    FEATURE_DROPOUT,
    LABELS,
    SHARED,
    SMOOTHING,
    WIDTH,
    Encoder,
    Tagger,
    batches,
    collate,
    decode,
    export,
    measure,
    splits,
)

MISSING = ("en-clinic", "zh-comments")  # passages of the genres that were missing
OFTEN = 5  # times in a pass that each of them comes, with other names
TRAINED, TUNED = (2, 4, 6), (0,)  # eighths of the abstracts; the odd ones are to measure on
RATE = 4e-4
TOKENS = 6000  # in a batch
TAUGHT = 0.8  # share of the loss of the old passages that is the distance to the network as it was
LEAST = 0.8  # score of a place or an institution of an abstract
COUNTRIES = frozenset({"UK", "USA", "US", "U.S", "U.S."})
_INSTITUTION = re.compile(
    r"\b(?:Universit\w+|Hospitals?|Clinics?|Institut\w*|Cent(?:er|re)s?|School|College|Medicare|NHS|WHO|Foundation|"
    r"Trust|Department|Ministry)\b"
)


def abstracts(path: Path, tagger: NameTagger, parts: Sequence[int]) -> Iterator[Document]:
    """Yield some eighths; places and institutions are as the tagger has them where a list or a word agrees."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    for number in sorted(rows):
        if zlib.crc32(number.encode()) % 8 not in parts:
            continue
        row = rows[number]
        for text in (row["QUESTION"], *row["CONTEXTS"], row["LONG_ANSWER"]):
            yield Document(text, tuple(_places_and_institutions(text, tagger)), "abstracts")


def _places_and_institutions(text: str, tagger: NameTagger) -> Iterator[tuple[int, int, str]]:
    """Decode the network alone, without the rules that follow it, so that a change of those changes no weights."""
    tokens = tokenize(text)
    rows = tagger._probabilities([text], [tokens])[1:-1]
    for first, last, kind in decode(rows.argmax(axis=1)):
        start, end = tokens.spans[first][0], tokens.spans[last - 1][1]
        if 1 - rows[first:last, 0].min() >= LEAST and _agreed(text[start:end], kind, tagger):
            yield start, end, kind


def _agreed(value: str, kind: str, tagger: NameTagger) -> bool:
    if not value[0].isupper() or kind == "PERSON":
        return False
    if kind == "ORGANIZATION":
        return _INSTITUTION.search(value) is not None
    if kind == "NRP" or value in COUNTRIES:
        return True
    words = [word for word in re.findall(r"[^\W\d_]+", value) if len(word) > 3]
    network = tagger.network
    return any(
        not network.is_in(word, "dictionary") and (network.is_in(word, "country") or network.is_in(word, "city"))
        for word in words
    )


class _Known(Encoder):
    """The encoder, with the lists of a weights file, which holds hashes of their words."""

    def __init__(self, network: Network) -> None:
        super().__init__({name: frozenset() for name in LEXICONS}, dict(network.words))
        self.lexicons = dict(network.lexicons)


def load(path: Path) -> Tagger:
    """Return the network of a weights file as one that can be trained."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    model = Tagger(WIDTH)
    state = model.state_dict()
    values = {
        "table.weight": data["table"].astype(np.float32) * data["table_scale"].astype(np.float32)[:, None],
        "projection.weight": data["projection"].astype(np.float32).T,
        "flags.weight": data["flags"].astype(np.float32).T * float(data["flag_scale"]),
        "extra": data["extra"],
        "steps": data["steps"].astype(np.float32),
    }
    for i in range(int(data["layers"])):
        name = f"convs.{i}" if f"convs.{i}.weight" in state else "out"
        values[f"{name}.weight"] = data[f"weight_{i}"].astype(np.float32).T * data[f"scale_{i}"][:, None]
        values[f"{name}.bias"] = data[f"bias_{i}"]
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in values.items()})
    model.whole = True
    return model


def prepare(data: Path, path: Path, tagger: NameTagger, variants: int, seed: int):
    """Return for each variant the encoded documents and whether the network as it was teaches them; features; dev."""
    rng = random.Random(seed)
    names = Names()
    train, dev = splits(data, hold_out=False)
    filler = Filler(names, [d for d in train if d.origin not in SHARED])
    encoder = _Known(tagger.network)
    negative = list(abstracts(path, tagger, TRAINED))
    epochs = []
    for _ in range(variants):
        documents: list[tuple[Document, bool]] = []
        for document in train:
            if document.origin in SHARED:
                documents.append((filler.fill(document, rng) if rng.random() < 0.4 else document, True))
            elif document.origin.startswith(MISSING):
                documents += [(document, False)]
                documents += [(filler.fill(document, rng), False) for _ in range(OFTEN - 1)]
            else:
                documents.append((filler.reworded(filler.fill(document, rng), rng), True))
        documents = [(noisy(d, rng), taught) for d, taught in documents]
        documents += [(d, False) for d in negative]
        epochs.append([(e, taught) for d, taught in documents if (e := encoder.encode(d)) is not None])
    dev_encoded = {name: [e for d in docs if (e := encoder.encode(d)) is not None] for name, docs in dev.items()}
    held = [e for d in abstracts(path, tagger, TUNED) if (e := encoder.encode(d)) is not None]
    dev_encoded["abstracts"] = held
    features = np.zeros((len(encoder.features), MOST_FEATURES), np.int64)
    for i, row in enumerate(encoder.features):
        features[i, : len(row)] = row
    return epochs, dev_encoded, features, np.array(encoder.pair_features)


def fit(model: Tagger, teacher: Tagger, epochs, dev, arrays, passes: int, seed: int) -> None:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    features, pair_features = map(torch.from_numpy, arrays)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    total = sum(len(batches([e for e, _ in epochs[p % len(epochs)]], TOKENS, random.Random(0))) for p in range(passes))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total + 10, pct_start=0.1)
    print(measure(model, dev, features, pair_features, "cpu"), flush=True)
    started = time.monotonic()
    for number in range(passes):
        encoded = [e for e, _ in epochs[number % len(epochs)]]
        taught = torch.tensor([t for _, t in epochs[number % len(epochs)]])
        losses = []
        for group in batches(encoded, TOKENS, rng):
            inputs, gold = collate(encoded, group, features, pair_features, "cpu")
            log = model(*inputs, drop=FEATURE_DROPOUT).reshape(-1, len(LABELS)).log_softmax(-1)
            target = gold.reshape(-1)
            hard = nn.functional.nll_loss(log, target, ignore_index=-100, reduction="none")
            hard = (1 - SMOOTHING) * hard - SMOOTHING * log.mean(-1)
            with torch.no_grad():
                mean = teacher(*inputs).softmax(-1).reshape(log.shape)
            soft = -(mean * log).sum(-1)
            share = TAUGHT * taught[group].unsqueeze(1).expand(gold.shape).reshape(-1)
            loss = ((1 - share) * hard + share * soft)[target >= 0].mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        mean_loss = torch.stack(losses).mean().item()
        print(f"pass {number + 1}/{passes} loss {mean_loss:.4f} {time.monotonic() - started:.0f} s", flush=True)
    print(measure(model, dev, features, pair_features, "cpu"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--abstracts", type=Path)
    parser.add_argument("--from", dest="start", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    path = arguments.abstracts or arguments.data / "pubmedqa_labeled.json"
    network = Network(arguments.start)
    epochs, dev, *arrays = prepare(arguments.data, path, NameTagger(network), 3, arguments.seed)
    print(sum(len(e[0]) for e, _ in epochs[0]), "tokens a pass", flush=True)
    model, teacher = load(arguments.start), load(arguments.start).eval()
    model.train()
    fit(model, teacher, epochs, dev, arrays, arguments.passes, arguments.seed)
    with np.load(arguments.start) as file:
        used = np.flatnonzero(np.abs(file["table"]).max(axis=1))
        words = file["chinese_words"].tobytes()
    used = np.unique(np.concatenate([used, arrays[0].ravel(), arrays[1].ravel()]))
    export(model, network.lexicons, words, used, arguments.out)
    print(arguments.out, arguments.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
