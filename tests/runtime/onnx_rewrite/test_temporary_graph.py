import os

import pytest

from glus_edge.runtime.onnx_rewrite.temporary_graph import temporary_graph


def test_a_graph_stands_beside_its_weights_and_is_removed(tmp_path):
    with temporary_graph(b"graph", tmp_path, "image_encoder.fp32") as path:
        assert path.read_bytes() == b"graph"
        assert path.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_where_its_user_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), temporary_graph(b"graph", tmp_path, "image_encoder.fp32"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    ended, endless = tmp_path / f".image_encoder.fp32.{2**22 + 1}.onnx", tmp_path / f".x.{2**80}.onnx"
    others = [
        tmp_path / f".image_encoder.fp32.{os.getppid()}.onnx",
        tmp_path / "image_encoder.onnx",
        tmp_path / ".a.onnx",
    ]
    for path in (ended, endless, *others):
        path.write_bytes(b"half")
    with temporary_graph(b"graph", tmp_path, "image_encoder.bf16"):
        assert not ended.exists()
        assert not endless.exists()
        assert all(path.exists() for path in others)
