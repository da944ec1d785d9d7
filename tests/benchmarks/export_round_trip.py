"""What exporting takes, and how like the approved model each form is: seconds, peak memory, the certificate's figures.

    python -m tests.benchmarks.export_round_trip --base FOLDER --adapter FOLDER --rows eval.jsonl --out out.json \
        --forms merged gguf gguf,q8_0 gguf-lora --converter FOLDER

--adapter: PEFT's two files. A form is --to, then --dtype, then --onto: `gguf,f16,original`. --method: how the base
was loaded in training. --only-write: no parity, so that the peak memory is that of writing alone. On a GPU the models
are asked there; --cpu: on the CPU in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--base", type=Path, required=True)
parser.add_argument("--adapter", type=Path, required=True)
parser.add_argument("--rows", type=Path, required=True)
parser.add_argument("--prompt", default="")
parser.add_argument("--method", default="lora")
parser.add_argument("--metric", default="f1")
parser.add_argument("--tokens", type=int, default=24)
parser.add_argument("--count", type=int, default=32, help="rows that are asked")
parser.add_argument("--forms", nargs="+", default=["peft", "merged"])
parser.add_argument("--converter", type=Path)
parser.add_argument("--keep", type=Path, help="folder for what is written; else it is removed")
parser.add_argument("--only-write", action="store_true")
parser.add_argument("--cpu", action="store_true")
parser.add_argument("--out", type=Path)


def main() -> None:
    options = parser.parse_args()
    if options.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from sdk.data import read_rows
    from sdk.data.measures import Measures
    from sdk.export.export_files import Source, export_files, write_form
    from sdk.export.export_settings import ExportSettings
    from sdk.model import open_base
    from sdk.model.adapted import AdaptedModel, load_adapted
    from sdk.model.chat import Chat
    from sdk.model.probes import measure_behaviour
    from sdk.records import Quantization, Scoring
    from sdk.seal import TOKENIZER

    rows = [*read_rows(options.rows).rows][: options.count]
    config = json.loads((options.adapter / "adapter_config.json").read_text())
    weights = (options.adapter / "adapter_model.safetensors").read_bytes()
    quantization = Quantization(method=options.method)
    results: list[dict[str, Any]] = []
    with open_base(str(options.base)) as opened, tempfile.TemporaryDirectory() as made:

        def approved() -> AdaptedModel:
            return load_adapted(opened, quantization, config, weights, options.prompt, options.tokens)

        seal = None
        if not options.only_write:
            model = approved()
            seal = measure_behaviour(model.model, Chat(model.tokenizer), options.prompt, {row.language for row in rows})
            del model
        tokenizer = [options.base / name for name in TOKENIZER if (options.base / name).is_file()]
        source = Source(
            opened, quantization, config, bytearray(weights), tokenizer, options.prompt, options.tokens, seal
        )
        for spec in options.forms:
            given = spec.split(",")
            form, kind, onto = (*given, *("peft", "", "trained-base")[len(given) :])
            settings = ExportSettings(form, onto, kind or None, options.converter)  # type: ignore[arg-type]
            folder = (options.keep or Path(made)) / spec.replace(",", "-")
            folder.mkdir(parents=True)
            began = time.monotonic()
            found: dict[str, Any] = {"form": spec}
            if options.only_write:
                write_form(source, settings, folder, lambda *told: None)
            else:
                judged = (rows, Measures([options.metric], Scoring()), options.metric)
                written, parity = export_files(source, settings, folder, approved, judged, lambda *told: None)
                found |= {"write_seconds": written.seconds, **parity.model_dump(mode="json")}
            found["seconds"] = time.monotonic() - began
            found["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            for who, of in (("peak_mib", resource.RUSAGE_SELF), ("children_peak_mib", resource.RUSAGE_CHILDREN)):
                found[who] = resource.getrusage(of).ru_maxrss / 1024
            results.append(found)
            print(json.dumps(found))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
