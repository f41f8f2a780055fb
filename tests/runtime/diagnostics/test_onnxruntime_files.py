"""Whose files lie in the folder of ONNX Runtime's module."""

from importlib.metadata import PathDistribution
from pathlib import Path

from glus_edge.runtime.diagnostics.onnxruntime_files import OnnxRuntimeFiles, onnxruntime_files


def installed(folder: Path, name: str, files: dict[str, bytes]) -> PathDistribution:
    """What pip leaves behind when it installs a package over whatever is there."""
    lines = []
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        lines.append(f"{path},sha256=x,{len(content)}")
    information = folder / f"{name.replace('-', '_')}-1.30.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.30\n")
    (information / "RECORD").write_text("\n".join(lines))
    return PathDistribution(information)


CPU = {"onnxruntime/__init__.py": b"same", "onnxruntime/capi/state.so": b"cpu"}
GPU = {
    "onnxruntime/__init__.py": b"same",
    "onnxruntime/capi/state.so": b"with cuda",
    "onnxruntime/capi/cuda.so": b"kernels",
}


def test_one_package_with_its_own_files_is_whole(tmp_path: Path) -> None:
    found = onnxruntime_files([installed(tmp_path, "onnxruntime", CPU), installed(tmp_path, "numpy", {"numpy/a": b""})])
    assert found == OnnxRuntimeFiles({"onnxruntime": "1.30"}, ())
    assert not found.mixed


def test_the_package_that_came_last_owns_the_files(tmp_path: Path) -> None:
    first, last = installed(tmp_path, "onnxruntime-gpu", GPU), installed(tmp_path, "onnxruntime", CPU)
    found = onnxruntime_files([first, last])
    assert found.mixed
    assert found.damaged == ("onnxruntime-gpu",)


def test_a_package_whose_files_went_with_another_is_damaged(tmp_path: Path) -> None:
    gpu = installed(tmp_path, "onnxruntime-gpu", GPU)
    for path in CPU:
        (tmp_path / path).unlink()  # as `pip uninstall onnxruntime` does
    found = onnxruntime_files([gpu])
    assert (found.mixed, found.damaged) == (False, ("onnxruntime-gpu",))


def test_a_package_of_a_similar_name_without_the_module_does_not_count(tmp_path: Path) -> None:
    other = installed(tmp_path, "onnxruntime-extensions", {"onnxruntime_extensions/a.py": b"1"})
    assert onnxruntime_files([other]) == OnnxRuntimeFiles({}, ())


def test_this_environment_is_whole() -> None:
    found = onnxruntime_files()
    assert found.packages
    assert not found.damaged
