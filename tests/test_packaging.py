"""What the wheel holds, and what importing the runtime brings with it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_one_name_and_its_typing_marker(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        ROOT,
    ]
    # setuptools packs whatever an earlier build left in build/lib, modules that are gone by now among it.
    (tmp_path / "elsewhere.cfg").write_text(f"[build]\nbuild_base = {tmp_path / 'build'}\n")
    environment = os.environ | {"DIST_EXTRA_CONFIG": str(tmp_path / "elsewhere.cfg")}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (wheel,) = tmp_path.glob("glus_edge-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"glus_edge"}
    for package in ("runtime", "export", "calibration", "benchmarks", "training"):
        assert f"glus_edge/{package}/__init__.py" in names
        assert f"glus_edge/{package}/py.typed" in names
        modules = {
            f"glus_edge/{path.relative_to(ROOT).as_posix()}"
            for path in (ROOT / package).rglob("*.py")
            if "__pycache__" not in path.parts
        }
        assert modules == {name for name in names if name.startswith(f"glus_edge/{package}/") and name.endswith(".py")}
    assert {"glus_edge/training/sam2_nano.yaml", "glus_edge/runtime/serving/page.html"} <= set(names)
    shipped = [path for path in (ROOT / "runtime" / "nano").rglob("*") if path.is_file()]
    assert {f"glus_edge/{path.relative_to(ROOT).as_posix()}" for path in shipped} <= set(names)
    assert {"manifest.json", "clip.mp4", "truth.json"} <= {path.name for path in shipped}
    assert not [name for name in names if "test" in name.lower().split("/")[1]]


def test_the_runtime_brings_neither_torch_nor_any_other_export_library():
    code = (
        "import glus_edge.runtime, glus_edge.runtime.commands.segment, sys; "
        "print(*[name for name in ('torch', 'transformers', 'sam2', 'onnx', 'sentencepiece') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/")
    assert found.stdout.split() == []


@pytest.mark.parametrize("path", sorted((ROOT / "docker").glob("*.Dockerfile")), ids=lambda p: p.name)
def test_images_install_what_makes_their_virtual_environment(path):
    text = path.read_text(encoding="utf-8")
    assert text.index("python3-venv") < text.index("python3 -m venv")
