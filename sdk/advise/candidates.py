"""Every method in the fastest settings that fit, with what they are expected to take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from sdk.advise.architectures import NOT_QUANTIZED
from sdk.advise.held import paged_gib, pages
from sdk.advise.memory import available_gib
from sdk.advise.predict import Prediction, predict
from sdk.advise.recipe import ROWS_PER_STEP, Choice, is_tiny, learning_settings, ranks, usual_rank, wants_accuracy
from sdk.advise.speed import recorded
from sdk.hardware.kernels import GRAPHS_BY_DEFAULT
from sdk.records import PROMPTS, Calibration, Hardware, Method, ModelShape, Needs, TrainSettings

METHODS: tuple[Method, ...] = ("lora", "qlora-4bit", "qlora-8bit", "lora-fp8")
LEANEST: Method = "qlora-4bit"
# Beyond this many tokens in one pass little speed is gained (8B in 4 bits on one H200: 15,438 tokens/s at 8k, 16,194
# at 16k), and what is asked for must fit the host's patience: a pass of a 70B model takes half a minute then.
TOKENS_IN_ONE_PASS = 16_384
PACKING_GAINS = 1.03  # tokens/s that packing must gain; it lets the number of rows in a step vary


class Candidate(NamedTuple):
    """A method with a rank; fits: its memory at worst can be used."""

    settings: TrainSettings
    reasons: dict[str, str]
    prediction: Prediction
    room: float

    @property
    def method(self) -> Method:
        return self.settings.method

    @property
    def fits(self) -> bool:
        return self.prediction.memory_high.total <= self.room

    @property
    def may_fit(self) -> bool:
        return self.prediction.memory.total <= self.room


class Search(NamedTuple):
    """Settings of one model on one machine for one need."""

    shape: ModelShape
    hardware: Hardware
    needs: Needs
    calibration: Calibration | None = None

    def methods(self) -> tuple[Method, ...]:
        """Return the methods that model and hardware can run: 8-bit floats need products of their own."""
        hardware = self.hardware
        able = hardware.bitsandbytes if self.shape.model_type not in NOT_QUANTIZED else ()
        bits = {"qlora-4bit": "4bit" in able, "qlora-8bit": "8bit" in able}
        fp8 = hardware.gpu_count > 0 and hardware.fp8_tflops is not None and hardware.backend == "cuda"
        # As training refuses the others (sdk/train/methods.py).
        kind = self.needs.peft_type or "lora"
        bits["qlora-8bit"] &= not self.needs.use_dora
        possible = {"lora": True, **bits, "lora-fp8": fp8 and kind == "lora" and not self.needs.use_dora}
        return tuple(method for method in METHODS if possible[method])

    def candidates(self) -> tuple[Candidate, ...]:
        """Return one candidate for each method; of 4 bits the usual rank and the high one, the one asked for first."""
        found: list[Candidate] = []
        usual = usual_rank(self.shape)
        for method in self.methods():
            ranked = [self.best(method, ranks(self.shape, self.hardware, self.needs, method))]
            if self.needs.lora_r is None and method == LEANEST and ranked[0].settings.lora_r > usual:
                ranked.append(self.best(method, [usual]))
            found += ranked if wants_accuracy(self.needs) else reversed(ranked)
        return tuple(found)

    def best(self, method: Method, some_ranks: list[int]) -> Candidate:
        """Return the highest rank that fits in its fastest settings, or the leanest of all where none fits.

        Moments are paged where a rank fits in no other way: how much slower that is was not measured.
        """
        leanest: Candidate | None = None
        for rank, paged in ((rank, paged) for rank in some_ranks for paged in (False, True)):
            fitting = []
            for candidate in self._paged(method, rank) if paged else map(self.of, self._choices(method, rank)):
                if candidate.fits:
                    fitting.append(candidate)
                elif leanest is None or candidate.prediction.memory.total < leanest.prediction.memory.total:
                    leanest = candidate
            if fitting:
                return self._fastest(fitting)
        assert leanest is not None
        return leanest

    def leanest(self, method: Method) -> Candidate:
        """Return the settings of least memory, at the lowest rank: the method fits if and only if these do."""
        lowest = ranks(self.shape, self.hardware, self.needs, method)[-1]
        tried = (*map(self.of, self._saving(method, lowest)), *self._paged(method, lowest))
        return min(tried, key=lambda candidate: candidate.prediction.memory_high.total)

    def anything_fits(self) -> bool:
        return any(self.leanest(method).fits for method in self.methods())

    def of(self, choice: Choice) -> Candidate:
        settings, reasons = learning_settings(self.shape, self.needs, choice)
        replaying = settings.model_copy(update={"cuda_graphs": True})
        if GRAPHS_BY_DEFAULT and recorded(self.shape, replaying, self.hardware):
            settings = replaying
            reasons["cuda_graphs"] = "The host launches kernels of so small a model more slowly than a GPU runs them."
        prediction = predict(self.shape, settings, self.hardware, self.needs, self.calibration)
        return Candidate(settings, reasons, prediction, available_gib(self.hardware, settings.gpus))

    def _fastest(self, fitting: list[Candidate]) -> Candidate:
        """Return the fastest candidate; packed rows must gain something, and of equals the leaner is better."""

        def speed(candidate: Candidate) -> tuple[float, float]:
            gain = PACKING_GAINS if candidate.settings.packing else 1.0
            return candidate.prediction.relative_speed / gain, -candidate.prediction.memory.total

        return max(fitting, key=speed)

    def _choices(self, method: Method, rank: int) -> Iterator[Choice]:
        """Yield for each micro-batch the settings that recompute least; what saves more only where it is needed."""
        for packing, gpus, shard in self._arrangements():
            for batch, accumulation in self._batches(packing, gpus):
                choice = partial(
                    Choice, method, rank, batch, accumulation, packing=packing, gpus=gpus, shard_base=shard
                )
                yield from self._savings(choice, shard)

    def _saving(self, method: Method, rank: int) -> Iterator[Choice]:
        """Yield for each micro-batch the settings that save all but moments."""
        saving = Choice(
            method,
            rank,
            1,
            1,
            None if self._can_recompute() else 0,
            offload_embeddings=self._can_offload_embeddings(),
            offload_activations=self._can_recompute(),
        )
        for packing, count, shard in self._arrangements():
            for batch, passes in self._batches(packing, count):
                yield saving._replace(batch=batch, accumulation=passes, packing=packing, gpus=count, shard_base=shard)

    def _paged(self, method: Method, rank: int) -> Iterator[Candidate]:
        """Yield the same with moments paged, where the driver does that, a matrix is large enough, and training would
        not refuse it: before the first step the moments must have room (sdk/train/optimizers.py).
        """
        if not (self.hardware.gpu_count and self.hardware.backend == "cuda" and pages(self.shape, rank)):
            return
        for choice in self._saving(method, rank):
            candidate = self.of(choice._replace(page_moments=True))
            memory = candidate.prediction.memory
            if paged_gib(self.shape, candidate.settings) <= candidate.room - memory.weights - memory.adapters:
                yield candidate

    def _can_recompute(self) -> bool:
        return self.needs.peft_type != "prefix_tuning"

    def _savings(self, choice: partial[Choice], shard: bool) -> Iterator[Choice]:
        if not self._can_recompute():
            yield choice(recomputed=0)
            if self._can_offload_embeddings():
                yield choice(recomputed=0, offload_embeddings=True)
            return
        if not shard:
            layers = self._least_recomputed(choice)
            if layers is not None:
                yield choice(recomputed=layers)
                return
        yield choice(recomputed=None)
        to_host = self._can_offload_embeddings()
        if to_host:
            yield choice(recomputed=None, offload_embeddings=True)
        if self.hardware.gpu_count:
            yield choice(recomputed=None, offload_embeddings=to_host, offload_activations=True)

    def _can_offload_embeddings(self) -> bool:
        return self.hardware.gpu_count > 0 and not self.shape.tie_word_embeddings

    def _least_recomputed(self, choice: partial[Choice]) -> int | None:
        """Return the fewest layers that have to be recomputed; None: even all but one are not enough."""
        layers = self.shape.num_hidden_layers
        if self.of(choice(recomputed=0)).fits:
            return 0
        if not self.of(choice(recomputed=layers - 1)).fits:  # of a base that is much too large, these two are all
            return None
        low, high = 0, layers - 1  # low does not fit, high does
        while high - low > 1:
            middle = (low + high) // 2
            if self.of(choice(recomputed=middle)).fits:
                high = middle
            else:
                low = middle
        return high

    def _arrangements(self) -> Iterator[tuple[bool, int, bool]]:
        """Yield (packing, number of GPUs, whether the base is sharded)."""
        count = max((n for n in (1, 2, 4, 8, 16) if n <= self.hardware.gpu_count), default=1)
        packs = self.hardware.gpu_count > 0 and self.needs.lengths is not None and not is_tiny(self.shape)
        packs &= self.needs.peft_type not in PROMPTS
        shards = self.needs.peft_type in (None, "lora") and not self.needs.use_dora
        for packing in (False, True) if packs else (False,):
            yield packing, count, False
            if count > 1 and shards:
                yield packing, count, True

    def _batches(self, packing: bool, gpus: int) -> Iterator[tuple[int, int]]:
        """Yield (rows in a pass or, packed, longest rows that fill it; passes): about ROWS_PER_STEP rows in a step."""
        length = min(self.needs.max_length, self.shape.max_position_embeddings)
        rows = ROWS_PER_STEP // gpus
        mean = length
        if packing and self.needs.lengths is not None:
            mean = max(1, self.needs.lengths.total // self.needs.lengths.rows)
        for batch in (16, 8, 4, 2, 1):
            if batch > rows or (batch > 1 and batch * length > TOKENS_IN_ONE_PASS):
                continue
            in_pass = batch * length / mean if packing else batch
            if in_pass > rows * 1.25:
                continue
            yield batch, max(1, round(rows / in_pass))


def candidates(
    shape: ModelShape, hardware: Hardware, needs: Needs, calibration: Calibration | None = None
) -> tuple[TrainSettings, ...]:
    """Return the best settings of each method that fits, for probe and pilot to try."""
    best: dict[Method, TrainSettings] = {}
    for candidate in Search(shape, hardware, needs, calibration).candidates():
        if candidate.fits:
            best.setdefault(candidate.method, candidate.settings)
    return tuple(best.values())
