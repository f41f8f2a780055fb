"""`python -m glus_edge.benchmarks.policies.signal_quality`, on constructed masks and on the golden clip."""

import json

import pytest

from glus_edge.benchmarks.policies.signal_quality import ObservedMask, main, qualities, table
from tests.benchmarks.mevis_folder import write_mevis


def seen(predicted, score, true, present=True):
    return ObservedMask(predicted, score, 1.0, 0.1, true, present)


def test_a_signal_that_ranks_perfectly_and_one_that_does_not_look():
    found = qualities([seen(iou, 1.0, iou) for iou in (0.1, 0.3, 0.6, 0.9)] + [seen(0.5, 1.0, 0.0, present=False)])
    assert found["predicted_iou"].iou_correlation == pytest.approx(1.0)
    assert found["predicted_iou"].good_auc == 1.0
    assert found["predicted_iou"].presence_auc == 0.5  # two of four above
    assert found["object_score"].iou_correlation is None
    assert found["object_score"].presence_auc == 0.5


def test_presence_counts_all_frames_and_iou_only_those_that_show_the_object():
    absent = [seen(0.99, -5.0, 1.0, present=False)] * 3  # an empty mask where nothing is meant: IoU 1
    found = qualities([seen(0.8, 2.0, 0.7), seen(0.4, 1.0, 0.2), *absent])
    assert found["predicted_iou"].good_auc == 1.0
    assert (found["predicted_iou"].presence_auc, found["object_score"].presence_auc) == (0.0, 1.0)


def test_what_the_data_does_not_say_is_an_empty_cell():
    assert list(table(qualities([seen(0.8, 2.0, 0.7)])))[2] == "| predicted_iou |  |  |  |"


@pytest.mark.torch
def test_a_dataset_is_observed_frame_by_frame(golden_bundle, tmp_path, capsys):
    folder, path = write_mevis(tmp_path / "set"), tmp_path / "r.json"
    arguments = ["--bundle", golden_bundle, "--dataset", folder, "--output", path]
    assert main(list(map(str, arguments))) == 0
    record = json.loads(path.read_text())
    assert record["masks"] == len(record["observations"]["true_iou"]) == 4 * 14
    # The golden clip's truth is what the reference predicts.
    assert sum(iou > 0.99 for iou in record["observations"]["true_iou"]) >= 2 * 14
    assert record["signals"]["predicted_iou"]["iou_correlation"] is not None
    assert "| object_score |" in capsys.readouterr().out
    assert main(["--bundle", str(golden_bundle), "--dataset", str(folder), "--videos", "9"]) == 2
    assert "--videos: got 9, expected 1 to 1" in capsys.readouterr().err
    assert main(["--dataset", str(folder), "--output", str(folder)]) == 2
    assert "is a folder, expected the name of a file" in capsys.readouterr().err
