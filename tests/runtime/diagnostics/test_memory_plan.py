"""What fits where, and what the doctor says of CUDA and TensorRT."""

from dataclasses import replace
from pathlib import Path

import pytest

from glus_edge.runtime.bundle.manifest import FileEntry, GraphEntry, ImageSettings, Manifest, PromptSettings
from glus_edge.runtime.bundle.signatures import GRAPHS, Limits, ModelDimensions
from glus_edge.runtime.commands import doctor
from glus_edge.runtime.device.cuda_api import Gpu
from glus_edge.runtime.diagnostics.device_table import DEVICES, board_name, device_class
from glus_edge.runtime.diagnostics.memory_plan import memory_plan, plan_lines
from glus_edge.runtime.diagnostics.tensorrt_state import TensorRtState, jetpack, state_lines

GLUS = ModelDimensions(224, 64, 4096, 32, 32, 32, 32003, 4096, 1024, 256, 64, 32, 64)
# bytes of the graphs' files in float16, measured on random weights; the language model's in int4
VISION = {"clip_encoder": 590, "image_encoder": 444, "memory_attention": 10, "mask_decoder": 11, "memory_encoder": 2}


def manifest(language_megabytes):
    def entry(name):
        size = (VISION | {"language_model": language_megabytes})[name] * 10**6
        return GraphEntry(FileEntry(f"{name}.onnx", "0" * 64, size), "float16", "fp16")

    image, file = ImageSettings(224, (0.0,) * 3, (1.0,) * 3), FileEntry("x", "0" * 64, 1)
    return Manifest(
        1, "glus", GLUS, PromptSettings(3, 1), image, image, {name: entry(name) for name in GRAPHS}, file, file
    )


@pytest.mark.parametrize(
    ("language_megabytes", "memory_gib", "integrated", "fits"),
    [
        (3444, 16, True, True),  # int4 on an Orin NX 16
        (3444, 8, True, False),  # int4 on an Orin Nano
        (13500, 16, True, False),  # fp16 on an Orin NX 16
        (13500, 24, False, True),  # fp16 on an L4
        (13500, 64, True, True),  # fp16 on an AGX Orin
    ],
)
def test_what_of_glus_7b_fits_where(language_megabytes, memory_gib, integrated, fits):
    plan = memory_plan(manifest(language_megabytes), Limits(sentences=1))
    assert plan.fits(memory_gib << 30, integrated) is fits


def test_keys_and_values_are_counted_exactly():
    # 32 layers x 2 x 4096 channels x 2 bytes a row; prefix once, past for each sentence
    plan = memory_plan(manifest(3444), Limits(sentences=3, context_tokens=100, past_tokens=50))
    assert plan.keys_values == 32 * 2 * 4096 * 2 * (100 + 3 * 50)


def test_engines_of_one_stream_share_their_scratch_memory():
    def scratch(**limits):
        return memory_plan(manifest(3444), Limits(sentences=1, **limits)).scratch

    # as long as memory attention needs more than the language model, the language model's rows cost nothing
    assert scratch(new_tokens=1, slots=7) == scratch(new_tokens=8, slots=7) > scratch(new_tokens=8, slots=6)
    assert scratch(new_tokens=640, slots=1) > scratch(new_tokens=320, slots=1)


def test_the_plan_adds_up_in_print():
    plan = memory_plan(manifest(3444), Limits(sentences=1))
    *parts, whole = [float(line.split()[-2]) for line in plan_lines(plan)]
    assert sum(parts) == pytest.approx(whole, abs=0.03)


ORIN = Gpu("Orin", "8.7", 16 << 30, "12.6", integrated=True, multiprocessors=8)


def state(**changes):
    found = TensorRtState(ORIN, "", "cuda-python", 8 << 30, {"tensorrt": "10.3.0"}, {}, "6", "Jetson")
    return replace(found, **changes)


def test_a_working_jetson_is_described_without_problems():
    report = replace(doctor.examine(), tensorrt=state())
    assert not list(doctor._device_problems(report))
    text = "\n".join(state_lines(report.tensorrt))
    for word in ("Orin (compute capability 8.7, 8 SMs)", "17.2 GB", "CUDA 12.6", "JetPack", "10.3.0"):
        assert word in text


def test_a_missing_tensorrt_and_a_bundle_too_large_each_come_with_their_fix():
    plan = memory_plan(manifest(13500), Limits(sentences=1))
    report = replace(doctor.examine(), tensorrt=state(versions={}, errors={"tensorrt": "no module"}), plan=plan)
    missing, large = doctor._device_problems(report)
    assert "python3-libnvinfer" in missing.fix
    assert "shared with the host" in large.found
    assert "int4" in large.fix


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1", "6"),
        ("# R38 (release), REVISION: 2.0", "7.0 or 7.1"),
        ("# R99 (x)", "of L4T R99"),
    ],
)
def test_the_jetpack_is_read_from_the_boards_release(tmp_path: Path, release, name):
    file = tmp_path / "nv_tegra_release"
    file.write_text(release)
    assert jetpack(file) == name
    assert jetpack(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("name", "capability", "row"),
    [
        ("NVIDIA H100 80GB HBM3", "9.0", "H100"),
        ("NVIDIA A100-SXM4-40GB", "8.0", "A100"),
        ("NVIDIA L4", "8.9", "L4"),
        ("NVIDIA GeForce RTX 4090", "8.9", "RTX"),
        ("Orin", "8.7", "Jetson AGX Orin"),
        ("NVIDIA Thor", "11.0", "Jetson Thor"),
    ],
)
def test_a_device_is_found_by_cudas_name_for_it(name, capability, row):
    found = device_class(name, capability)
    assert found is not None
    assert found.name == row
    assert device_class("Quadro K2000", "3.0") is None


@pytest.mark.parametrize(
    ("board", "row"),
    [
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "Jetson Orin NX"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin Nano"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin"),
    ],
)
def test_boards_that_cuda_gives_one_name_are_told_apart_by_their_own(tmp_path: Path, board, row):
    file = tmp_path / "model"
    file.write_bytes(board.encode() + b"\0")
    found = device_class("Orin", "8.7", board_name(file))
    assert found is not None
    assert found.name == row
    assert board_name(tmp_path / "none") == ""


def test_precisions_of_the_device_table_are_ones_that_can_be_exported():
    assert all(row.vision in ("fp16", "fp32") and row.language in ("int4", "fp16") for row in DEVICES)
