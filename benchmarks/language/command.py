"""`glus-edge bench language`: one step of the language model in 4 bits on this processor, beside llama.cpp."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from glus_edge.benchmarks.instruments.environment import PACKAGES, environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.benchmarks.language.case import random_inputs, step_flops, write_random_step
from glus_edge.benchmarks.language.llama_cpp import LlamaBench, LlamaProcess
from glus_edge.benchmarks.language.prefill import PrefillCase, PrefillRunner
from glus_edge.benchmarks.language.products import KINDS, Product
from glus_edge.benchmarks.language.random_gguf import write_random_gguf
from glus_edge.benchmarks.language.runners import OnnxRuntimeStep, OpenVinoStep
from glus_edge.benchmarks.language.table import LanguageReport, StepFigures, figures, table
from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.runtime.errors import EngineError, InputError, OutputError
from glus_edge.runtime.utils.machine import thread_count
from glus_edge.runtime.utils.progress import Progress, terminal_bar

LLAMA_CPP = "llama.cpp, Q4_0"
_ABOUT = """\
A LLaMA of a preset's shape is written with random weights, as the bundle's graph with int4 weights and as a GGUF file with
Q4_0 weights, and prefills new rows behind cached ones. In turns, in one run: ONNX Runtime with activations rounded to 8 bits
and in float32, OpenVINO in bfloat16, llama.cpp, and the products of large matrices that the shares are of. llama.cpp's last
layer computes some of its rows for nothing where our graph goes on with the last row alone: work is counted as our graph
does it, for all. What is not installed is a line that says so.
"""
Openers = Mapping[str, Callable[[], PrefillRunner]]


@dataclass(frozen=True)
class LanguageBenchSettings:
    """What is measured; the command line's defaults. InputError: a size, a count or layers that cannot be."""

    size: str = "glus-7b"  # of SIZES
    layers: int | None = None  # only the first so many of them
    prefill: PrefillCase = field(default_factory=PrefillCase)
    rounds: int = 5  # after one that is not counted
    llama_bench: Path | None = None  # the program; None: the package llama-cpp-python

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise InputError(f"--size: got {self.size!r}, expected one of {', '.join(SIZES)}")
        most = SIZES[self.size].language.layers
        if self.layers is not None and not 1 <= self.layers <= most:
            raise InputError(f"--layers: got {self.layers}, expected 1 to {most}, which {self.size} has")
        for option, value, least in (
            ("--new", self.prefill.new, 1),
            ("--cached", self.prefill.cached, 0),
            ("--threads", self.prefill.threads, 1),
            ("--rounds", self.rounds, 1),
        ):
            if value < least:
                raise InputError(f"{option}: got {value}, expected at least {least}")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    usual = LanguageBenchSettings()
    parser.description = f"{parser.description} {_ABOUT}"
    parser.add_argument("--size", default=usual.size, help=f"{', '.join(SIZES)} (default: %(default)s)")
    parser.add_argument(
        "--layers", type=int, metavar="N", help="only the first N: quicker, smaller, said in the record"
    )
    parser.add_argument("--new", type=int, default=usual.prefill.new, metavar="N", help="rows (default: %(default)s)")
    parser.add_argument("--cached", type=int, default=usual.prefill.cached, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: every usable core (default)")
    parser.add_argument("--rounds", type=int, default=usual.rounds, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--llama-bench", type=Path, metavar="PROGRAM", help="in place of the package llama-cpp-python")
    parser.add_argument("--folder", type=Path, help="where both models are written for the time of the run")
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints the table and writes the record."""
    prefill = PrefillCase(arguments.new, arguments.cached, thread_count(arguments.threads))
    settings = LanguageBenchSettings(arguments.size, arguments.layers, prefill, arguments.rounds, arguments.llama_bench)
    if arguments.folder is not None and not arguments.folder.is_dir():
        raise InputError(f"--folder {arguments.folder}: no such folder, expected one with room for both models")
    record_file = RecordFile("language", arguments)
    with TemporaryDirectory(dir=arguments.folder) as folder:
        report = measure(settings, Path(folder), terminal_bar)
    where = environment(prefill.threads, (*PACKAGES, "llama_cpp_python"))
    for line in table(report, where):
        print(line)
    others = {field.name: getattr(report, field.name) for field in fields(report) if field.name != "rows"}
    record_file.write(where, settings, report.rows, **others)
    return 0


def measure(settings: LanguageBenchSettings, folder: Path, progress: Progress) -> LanguageReport:
    """Writes the models into `folder`, then runs everything in turns. OutputError: there is no room for them."""
    whole = SIZES[settings.size].language
    config = replace(whole, layers=settings.layers or whole.layers)
    prefill, graph, gguf = settings.prefill, folder / "language_model.onnx", folder / "model.gguf"
    try:
        write_random_step(config, graph)
        write_random_gguf(config, gguf)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}), expected room for both models; free some space, or give "
            "another --folder or fewer --layers"
        ) from error
    inputs = random_inputs(config, prefill)
    program = settings.llama_bench
    openers: Openers = {
        "onnxruntime, int8 activations": lambda: OnnxRuntimeStep(
            graph, inputs, config.max_positions, prefill.threads, 4
        ),
        "onnxruntime, float32": lambda: OnnxRuntimeStep(graph, inputs, config.max_positions, prefill.threads, 1),
        "openvino, bf16": lambda: OpenVinoStep(graph, inputs, prefill.threads),
        LLAMA_CPP: lambda: LlamaBench(program, gguf, prefill) if program else LlamaProcess(gguf, prefill),
    }
    products = {kind: Product(kind, prefill.threads) for kind in KINDS}
    seconds, missing = in_turns(openers, products, settings.rounds, progress)
    flops = step_flops(graph, prefill)
    each = {kind: [turn / product.flops for turn in seconds[kind]] for kind, product in products.items()}
    baseline = seconds.get(LLAMA_CPP)
    return LanguageReport(
        size=settings.size,
        layers=config.layers,
        all_layers=whole.layers,
        prefill=prefill,
        flops=flops,
        products={kind: 1 / min(turns) for kind, turns in each.items()},
        rows=[
            StepFigures(name, note=missing[name])
            if name in missing
            else figures(name, seconds[name], flops, each, None if name == LLAMA_CPP else baseline)
            for name in openers
        ],
    )


def in_turns(
    openers: Openers, products: Mapping[str, PrefillRunner], rounds: int, progress: Progress
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of every runner, one a round after a first that is not counted; why others are missing."""
    with ExitStack() as stack:
        runners: dict[str, PrefillRunner] = dict(products)
        missing: dict[str, str] = {}
        for name, opened in openers.items():
            try:
                runner = opened()
                stack.callback(runner.close)
                runner.seconds()
            except EngineError as error:
                missing[name] = str(error)
            else:
                runners[name] = runner
        order = list(runners)
        turns = [name for number in range(rounds) for name in (order if number % 2 else reversed(order))]
        seconds: dict[str, list[float]] = {name: [] for name in order}
        for name in progress(turns, len(turns), "measuring, in turns"):
            seconds[name].append(runners[name].seconds())
    return seconds, missing
