import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from glus_edge.benchmarks.instruments.environment import environment
from glus_edge.benchmarks.instruments.record import RecordFile, add_record_arguments
from glus_edge.runtime.errors import OutputError


@dataclass(frozen=True)
class Settings:
    video: Path
    rate: float


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_record_arguments(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), argv=["bench", "speed", *words])


def test_a_record_says_what_was_run_where_and_what_came_of_it(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    record = RecordFile("speed", arguments("--output", str(path)))
    assert not path.exists()
    record.write(environment(1), Settings(Path("a.mp4"), float("nan")), [{"ms": 2.5}, {"ms": float("inf")}], model="m")
    content = json.loads(path.read_text())
    assert content["format"] == "glus-edge bench speed"
    assert content["command_line"] == ["glus-edge", "bench", "speed", "--output", str(path)]
    assert content["environment"]["threads"] == 1
    assert content["environment"]["packages"]["numpy"]
    assert content["settings"] == {"video": "a.mp4", "rate": None}
    assert (content["rows"], content["model"]) == ([{"ms": 2.5}, {"ms": None}], "m")


def test_an_earlier_record_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("earlier")
    with pytest.raises(OutputError, match="exists already, expected a new file; name another one or give --overwrite"):
        RecordFile("speed", arguments("--output", str(path)))
    record = RecordFile("speed", arguments("--output", str(path), "--overwrite"))
    assert path.read_text() == "earlier"
    record.write(environment(1), {}, [])
    assert json.loads(path.read_text())["rows"] == []


def test_what_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "no such folder" / "r.json"):
        with pytest.raises(OutputError):
            RecordFile("speed", arguments("--output", str(target)))


def test_without_a_name_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RecordFile("speed", arguments()).write(environment(1), {}, [])
    assert not any(tmp_path.iterdir())
