"""How fast packages are sealed, verified and unsealed, and FLOE and SHA-256 alone.

    python tests/benchmarks/sealing.py --mib 1024 --folder /dev/shm --out sealing.json

Rows say on how many cores they ran. Rates are of plaintext, 10^9 bytes a second, the best of --repeats: by the clock,
and by the processor time of this process, which a busy machine disturbs less. FLOE goes from memory to memory that has
been touched before; what the first touch of fresh memory costs is a row of its own, as every decryption pays it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend
from rich.console import Console
from rich.table import Table

from sdk import crypto
from sdk.crypto import floe
from sdk.seal import PACKAGE, DescribedFacts, key_context, lock_digest, open_package, seal, unseal
from sdk.seal.folder import read_files

MIB = 1 << 20
AAD = b"benchmark"
KEY, WRAPPER = crypto.SigningKey.random(), crypto.LocalWrapper(crypto.Secret.random())


@dataclass(frozen=True)
class Row:
    what: str
    cores: int
    seconds: float
    cpu_seconds: float
    gb_s: float
    gb_s_cpu: float


class Bench:
    def __init__(self, folder: Path, size: int, repeats: int) -> None:
        self.folder, self.size, self.repeats = folder, size, repeats
        self.cores = sorted(os.sched_getaffinity(0))
        self.adapter = folder / "adapter"
        self.adapter.mkdir()
        (self.adapter / "adapter_config.json").write_text('{"r": 8}')
        header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        block = os.urandom(MIB)
        with (self.adapter / "adapter_model.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for start in range(0, size, MIB):
                file.write(block[: min(MIB, size - start)])
        self.block = block

    def measure(
        self, what: str, work: Callable[[], object], cores: int = 1, before: Callable[[], object] = lambda: None
    ) -> Row:
        os.sched_setaffinity(0, self.cores[:cores])
        runs = []
        try:
            for _ in range(self.repeats):
                before()
                wall, cpu = time.perf_counter(), time.process_time()
                work()
                runs.append((time.perf_counter() - wall, time.process_time() - cpu))
        finally:
            os.sched_setaffinity(0, self.cores)
        seconds, cpu_seconds = min(run[0] for run in runs), min(run[1] for run in runs)
        return Row(what, cores, seconds, cpu_seconds, self.size / 1e9 / seconds, self.size / 1e9 / cpu_seconds)


def _facts() -> DescribedFacts:
    digest = "0" * 64
    return DescribedFacts(
        package_id="0" * 32,
        version=1,
        project="benchmark",
        base="base",
        base_revision=None,
        base_digest=digest,
        method="lora",
        records={},
        data={},
        scores={},
        policy="default@1",
        policy_digest=digest,
        domain="finance@1",
        domain_digest=digest,
        prompt="",
        max_new_tokens=1,
        code={},
        lock=lock_digest(),
    )


def primitives(bench: Bench) -> list[Row]:
    secret = crypto.Secret.random()
    plaintext = bench.block * (bench.size // MIB)
    size = len(plaintext)
    sealed = b"".join(map(bytes, floe.encrypt(floe.take_from(plaintext), size, secret, AAD)))
    out = bytearray(size)

    def encrypt() -> None:
        for _ in floe.encrypt(floe.take_from(plaintext), size, secret, AAD):
            pass

    def decrypt() -> None:
        floe.decrypt_into(floe.take_from(sealed), len(sealed), secret, AAD, "benchmark", out)

    return [
        bench.measure("SHA-256", lambda: hashlib.sha256(plaintext)),
        bench.measure("FLOE encrypt", encrypt),
        bench.measure("FLOE decrypt", decrypt),
        bench.measure("first touch of memory", lambda: bytearray(size)),
        bench.measure("wipe", lambda: floe.wipe(out)),
    ]


def packages(bench: Bench) -> list[Row]:
    out, tokenizer = bench.folder / "out", bench.folder / "base"
    tokenizer.mkdir()
    facts = _facts()

    def work() -> None:
        seal(bench.adapter, tokenizer, facts, KEY, "benchmark", WRAPPER, out)

    def clear() -> None:
        shutil.rmtree(out, ignore_errors=True)

    what = "seal, with two SHA-256 and the write"
    rows = [bench.measure(what, work, cores, clear) for cores in sorted({1, len(bench.cores)})]
    folder = out / PACKAGE
    manifest = open_package(folder, None, KEY.public_pem, None)
    secret = WRAPPER.unwrap(manifest.wrapped_data_key or "", key_context(manifest.package_id))
    rows += [
        bench.measure("verify a package", lambda: open_package(folder, None, KEY.public_pem, None)),
        bench.measure("unseal, with SHA-256", lambda: unseal(folder, manifest, secret)),
    ]
    clear()
    return rows


def parallel(bench: Bench) -> list[Row]:
    """The same bytes as several files, as many at a time as there are cores."""
    folder, count = bench.folder / "files", len(bench.cores)
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}").write_bytes(bench.block * (bench.size // MIB // count))
    names = [path.name for path in folder.iterdir()]
    return [
        bench.measure(f"hash {count} files", lambda: read_files(folder, names)),
        bench.measure(f"hash {count} files", lambda: read_files(folder, names), cores=count),
    ]


def machine() -> dict[str, str | int]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "cryptography": version("cryptography"),
        "openssl": backend.openssl_version_text(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="size of the weights")
    parser.add_argument("--folder", type=Path, help="where files are written; /dev/shm leaves the disk out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(Path(folder), given.mib * MIB, given.repeats)
        rows = [*primitives(bench), *packages(bench), *parallel(bench)]
    table = Table("", "cores", "GB/s", "GB/s of processor time", title=f"{given.mib} MiB")
    for row in rows:
        table.add_row(row.what, str(row.cores), f"{row.gb_s:.2f}", f"{row.gb_s_cpu:.2f}")
    Console().print(table)
    if given.out:
        figures = {
            "machine": machine(),
            "mib": given.mib,
            "repeats": given.repeats,
            "rows": [asdict(row) for row in rows],
        }
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
