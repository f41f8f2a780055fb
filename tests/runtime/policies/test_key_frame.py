import json

import pytest

from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.key_frame import key_frame_index


@pytest.mark.parametrize(("choice", "index"), [("first", 0), (3, 3), ("3", 3), (0, 0), ("9", 9)])
def test_a_name_or_a_number_names_a_frame(choice, index):
    assert key_frame_index(choice, 10) == index


@pytest.mark.parametrize("choice", [10, -1, "10", "-1"])
def test_a_frame_the_video_does_not_have_is_refused(choice):
    with pytest.raises(InputError, match="expected 0 to 9"):
        key_frame_index(choice, 10)


def test_a_score_file_gives_its_highest_frame(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps([0.1, 0.7, 0.7, 0]))
    assert key_frame_index(path, 4) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("[1, 2]", "{}", "[1, 2, 3, null]", "[1, 2, 3, NaN]", "[1, 2, 3, true]", "not json", "[" * 100_000),
        f"[1, 2, 3, 1{'0' * 400}]",
    ],
)
def test_a_score_file_that_does_not_fit_the_video_is_refused(tmp_path, content):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(InputError, match="expected a JSON list"):
        key_frame_index(path, 4)


def test_a_score_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="expected 'first', 'auto', a frame number or a score file"):
        key_frame_index("nowhere.json", 4)
