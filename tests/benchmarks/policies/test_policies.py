"""Comparing policies: thresholds, the journal, the oracle and the table, and the whole on the tiny checkpoint."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.benchmarks.accuracy.evaluation import SentenceScore
from glus_edge.benchmarks.datasets.dataset import Expression
from glus_edge.benchmarks.instruments.memory_video import MemoryVideo
from glus_edge.benchmarks.policies import command as policies
from glus_edge.benchmarks.policies.comparison import Comparison
from glus_edge.benchmarks.policies.journal import PolicyJournal
from glus_edge.benchmarks.policies.oracle import OracleRule, Truth
from glus_edge.benchmarks.policies.rule_list import FITTED, FIXED, fitted_threshold
from glus_edge.benchmarks.policies.table import policy_figures, policy_table
from glus_edge.runtime import open_video
from glus_edge.runtime.cli import main
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.mask_signals import MaskSignals
from tests.runtime import golden


def score(video, value, asked=100.0, kind="motion"):
    return SentenceScore(video, "0", "a thing", kind, 10, value, value, 0.0, 100.0, asked)


@given(st.floats(0.05, 0.95), st.floats(0.5, 3), st.booleans())
def test_a_threshold_gives_the_wanted_call_rate(wanted, power, rising):
    def rate(threshold):
        return (threshold if rising else 1 - threshold) ** power

    found = fitted_threshold(rate, wanted, rising=rising, steps=12)
    assert rate(found) == pytest.approx(wanted, abs=0.025)


def test_a_rate_that_cannot_be_had_gives_the_nearest():
    asked = []

    def rate(threshold):
        asked.append(threshold)
        return 0.1 if threshold < 0.6 else 0.7

    assert rate(fitted_threshold(rate, 0.2, rising=True, steps=5)) == 0.1
    assert len(asked) == 6


def test_every_rule_has_a_name_the_runtime_knows():
    for choice in (*FIXED.values(), *(rule.choice(0.5) for rule in FITTED.values())):
        choice.rules()


def test_the_oracle_asks_where_the_true_iou_is_low():
    truth = Truth()
    square = np.zeros((40, 40), np.bool_)
    square[:20, :20] = True
    truth.show(square)
    small = np.zeros((10, 10), np.bool_)
    small[:5, :5] = True
    rule = OracleRule(truth=truth)
    assert not rule.ask_after(1, (MaskSignals(0.0, 0.0, 0.0, 0.0, mask=small),))
    assert rule.ask_after(1, (MaskSignals(1.0, 9.0, 1.0, 0.5, mask=~small),))
    assert not rule.ask_before(9, (), 1.0)


def test_a_journal_gives_back_what_was_kept_and_mends_a_torn_line(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = PolicyJournal(path, "abc")
    journal.add("set", "000", "exact always", [score("000", 50.0)])
    journal.add_threshold("verify", 0.75)
    with path.open("ab") as file:
        file.write(b'{"set": "set", "vid')
    again = PolicyJournal(path, "abc")
    assert again.thresholds == {"verify": 0.75}
    assert again.scores("set", "000", "exact always") == (score("000", 50.0),)
    assert again.scores("set", "001", "exact always") is None
    again.add("set", "001", "exact always", [])
    assert PolicyJournal(path, "abc").scores("set", "001", "exact always") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]\n", "expected a JSON object"),
        ("{}\n", "got no journal of policies"),
        ("{\n", "expected a JSON object"),
        ('{"format": "glus-edge policies", "bundle": "other"}\n', "a journal of another bundle"),
        ('{"format": "glus-edge policies", "bundle": "abc"}\n{"set": 1}\n', "KeyError"),
    ],
)
def test_a_file_that_is_no_journal_of_this_bundle_is_refused(tmp_path, content, said):
    path = tmp_path / "j.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        PolicyJournal(path, "abc")
    assert path.read_text() == content


def test_policies_are_compared_sentence_by_sentence():
    scores = {
        "exact": [score("a", 60.0), score("b", 40.0, kind="relation")],
        "every-5": [score("a", 55.0, 20.0), score("b", 45.0, 20.0, kind="relation")],
    }
    exact, every = policy_figures(scores, {"exact": "exact always", "every-5": "window every:5"})
    assert (exact.calls, every.calls) == (100.0, 20.0)
    assert (exact.j_and_f["motion"], exact.j_and_f["all"]) == (60.0, 50.0)
    assert set(exact.against) == {"every-5"}
    assert (every.against["exact"].mean, every.against["exact"].low, every.against["exact"].high) == (0.0, -5.0, 5.0)
    header, _, _, row = policy_table([exact, every])
    assert row.count("|") == header.count("|")
    assert "| 20.0 | +0.00 [-5.00, +5.00] |  |" in row


class GoldenVideo:
    """The golden video, its sentence's truth being what the reference predicts; and a sentence that names nothing."""

    def __init__(self, name):
        self.name = name
        self.sentences = (Expression("0", golden.sentence("exp0"), "motion"), Expression("1", "nothing", "none"))
        self._masks = golden.expected_masks("exp0")

    def open(self):
        return MemoryVideo(self.name, np.stack([frame.rgb for frame in open_video(golden.FRAMES).frames()]))

    def truth(self, frame):
        return np.stack([self._masks[frame], np.zeros_like(self._masks[frame])])


class Videos:
    def __init__(self, _=None, name="videos"):
        self.name = name

    def __len__(self):
        return 2

    def __getitem__(self, number):
        return GoldenVideo(f"{number:03d}")


@pytest.mark.torch
def test_a_comparison_can_be_broken_off_and_goes_on(golden_bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(policies, "GeneratedDataset", Videos)
    journal, output = tmp_path / "j.jsonl", tmp_path / "r.json"
    common = ["--bundle", str(golden_bundle), "--journal", str(journal), "--threshold-videos", "1"]
    chosen = ["--policies", "exact,every-5,once,previous,oracle"]
    assert main(["bench", "policies", *common, *chosen, "--videos", "1"]) == 0
    first = journal.read_bytes()
    capsys.readouterr()
    assert main(["bench", "policies", *common, *chosen, "--videos", "2", "--output", str(output)]) == 0
    assert journal.read_bytes().startswith(first)
    added = [json.loads(line) for line in journal.read_bytes()[len(first) :].splitlines()]
    assert {line["video"] for line in added} == {"001"}
    assert len(added) == 5
    record = json.loads(output.read_text())
    rows = {row["policy"]: row for row in record["rows"]}
    assert rows["exact"]["j_and_f"]["motion"] >= 99.9
    assert (rows["exact"]["calls"], rows["every-5"]["calls"]) == (100.0, pytest.approx(100 * 3 / 14))
    assert rows["once"]["calls"] == pytest.approx(100 / 14)
    assert rows["oracle"]["j_and_f"]["all"] >= rows["once"]["j_and_f"]["all"]
    assert rows["every-5"]["against"]["exact"]["videos"] == 2
    assert set(record["thresholds"]) == {"previous"}
    assert "| every-5 | window every:5 reference never |" in capsys.readouterr().out


@pytest.mark.torch
def test_towers_that_cache_change_no_mask(golden_bundle, tmp_path):
    from glus_edge.benchmarks.policies.rule_list import EXACT
    from glus_edge.runtime.bundle.bundle import Bundle

    journal = PolicyJournal(tmp_path / "j.jsonl", "abc")
    comparison = Comparison(Bundle.open(golden_bundle), journal)
    choices = (FIXED[EXACT], FIXED["window"], FIXED["rolling"])
    comparison.run(Videos(), 1, choices, lambda items, *_: iter(items))
    alone = Comparison(Bundle.open(golden_bundle), PolicyJournal(tmp_path / "k.jsonl", "abc"))
    for choice in reversed(choices):
        alone.run(Videos(), 1, (choice,), lambda items, *_: iter(items))
        assert alone.scores_of(Videos(), 1, choice) == comparison.scores_of(Videos(), 1, choice)
    for each in (comparison, alone):
        each.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policies", "exact,fastest"], "--policies: got 'fastest'"),
        (["--videos", "0"], "--videos: got 0, expected 1 to 200"),
        (["--call-rate", "nan"], "--call-rate: got nan, expected above 0 and at most 100"),
        (["--call-rate", "-5"], "--call-rate: got -5"),
        (["--threshold-videos", "65"], "--threshold-videos: got 65, expected 1 to 64"),
    ],
)
@pytest.mark.torch
def test_a_wrong_argument_is_one_line(tmp_path, capsys, arguments, said):
    assert main(["bench", "policies", "--journal", str(tmp_path / "j.jsonl"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
