"""`glus-edge bench signals`, on constructed masks and on the golden video."""

import json

import pytest

from glus_edge.benchmarks.policies.signal_quality import ObservedMask, qualities, table
from glus_edge.runtime.cli import main
from tests.benchmarks.mevis_folder import write_mevis


def observed(predicted, score, true, present=True):
    return ObservedMask(predicted, score, 1.0, 0.1, true, present)


def test_a_signal_that_ranks_perfectly_and_one_that_does_not_look():
    worth = qualities(
        [observed(iou, 1.0, iou) for iou in (0.1, 0.3, 0.6, 0.9)] + [observed(0.5, 1.0, 0.0, present=False)]
    )
    assert worth["predicted_iou"].iou_correlation == pytest.approx(1.0)
    assert worth["predicted_iou"].good_auc == 1.0
    assert worth["predicted_iou"].presence_auc == 0.5  # two of four above
    assert worth["object_score"].iou_correlation is None
    assert worth["object_score"].presence_auc == 0.5


def test_presence_counts_all_frames_and_iou_only_those_that_show_the_object():
    absent = [observed(0.99, -5.0, 1.0, present=False)] * 3  # an empty mask where nothing is meant: IoU 1
    worth = qualities([observed(0.8, 2.0, 0.7), observed(0.4, 1.0, 0.2), *absent])
    assert worth["predicted_iou"].good_auc == 1.0
    assert (worth["predicted_iou"].presence_auc, worth["object_score"].presence_auc) == (0.0, 1.0)


def test_what_the_data_does_not_say_is_an_empty_cell():
    assert list(table(qualities([observed(0.8, 2.0, 0.7)])))[2] == "| predicted_iou |  |  |  |"


@pytest.mark.torch
def test_a_dataset_is_observed_frame_by_frame(golden_bundle, tmp_path, capsys):
    folder, path = write_mevis(tmp_path / "set"), tmp_path / "r.json"
    arguments = ["--bundle", golden_bundle, "--dataset", folder, "--output", path]
    assert main(["bench", "signals", *map(str, arguments)]) == 0
    record = json.loads(path.read_text())
    assert record["masks"] == len(record["observations"]["true_iou"]) == 4 * 14
    # The golden video's truth is what the reference predicts.
    assert sum(iou > 0.99 for iou in record["observations"]["true_iou"]) >= 2 * 14
    assert record["rows"][0]["iou_correlation"] is not None
    assert "| object_score |" in capsys.readouterr().out
    assert main(["bench", "signals", "--bundle", str(golden_bundle), "--dataset", str(folder), "--videos", "9"]) == 2
    assert "--videos: got 9, expected 1 to 1" in capsys.readouterr().err
    assert main(["bench", "signals", "--dataset", str(folder), "--output", str(folder)]) == 2
    assert "is a folder, expected the name of a file" in capsys.readouterr().err
