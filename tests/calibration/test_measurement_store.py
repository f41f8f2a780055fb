"""What a calibration keeps of what it measured."""

import pytest
import torch

from glus_edge.calibration.measurement_store import MeasurementStore
from glus_edge.runtime.errors import OutputError

pytestmark = pytest.mark.torch


def test_what_was_put_is_there_until_the_key_is_another(tmp_path):
    store = MeasurementStore(tmp_path / "kept", {"videos": 1})
    store.put("layer-0", {"error": 0.5}, {"scale": torch.ones(3)})
    again = MeasurementStore(tmp_path / "kept", {"videos": 1})
    assert again.get("layer-0") == {"error": 0.5}
    assert torch.equal(again.tensors("layer-0")["scale"], torch.ones(3))
    other = MeasurementStore(tmp_path / "kept", {"videos": 2})
    assert other.get("layer-0") is None
    assert other.tensors("layer-0") is None
    other.remove()
    assert not (tmp_path / "kept").exists()


def test_what_someone_else_put_beside_it_stays(tmp_path):
    store = MeasurementStore(tmp_path, {})
    (tmp_path / "notes").touch()
    store.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert MeasurementStore(tmp_path, {"other": 1}).get("layer-0") is None


@pytest.mark.parametrize("tensors", [None, {"scale": torch.ones(3)}])
def test_what_cannot_be_kept_is_said(tmp_path, tensors):
    store = MeasurementStore(tmp_path / "kept", {})
    store.remove()
    with pytest.raises(OutputError, match="cannot be written"):
        store.put("layer-0", {}, tensors)
