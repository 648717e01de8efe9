"""`clip-scaling forecast` and `judge` on a user's own table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clip_scaling.cli import main as cli

COMPUTE = np.geomspace(1e3, 1e6, 8)
COLUMNS = ["--column", "gmacs_per_sample=size", "--column", "samples_seen=seen", "--column", "error=err"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs.csv (eight runs without names) and coming.csv (one larger)."""
    monkeypatch.chdir(tmp_path)
    write_runs(COMPUTE)
    pd.DataFrame({"size": [100.0], "seen": [1e5]}).to_csv("coming.csv", index=False)
    return tmp_path


def write_runs(compute: np.ndarray, finished: str = "2026-01-02") -> None:
    noise = np.where(np.arange(len(compute)) % 2, 1.01, 0.99)
    table = pd.DataFrame({"size": compute / 1e5, "seen": 1e5, "err": 2 * compute**-0.15 * noise, "ended": finished})
    table.to_csv("runs.csv", index=False)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["clip-scaling", *arguments])
    cli.main()


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    with pytest.raises(SystemExit) as found:
        run(monkeypatch, *arguments)
    return str(found.value)


FREEZE = ["forecast", "runs.csv", "--target", "mine", *COLUMNS, "--method", "ols-all"]
JUDGE = ["judge", "runs.csv", "--forecast", "f.json", *COLUMNS]


def test_a_forecast_is_frozen_and_judged_once_its_run_is_in_the_table(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, *FREEZE, "--candidates", "coming.csv", "--output", "f.json")
    printed = capsys.readouterr().out
    assert "forecast of 1 runs from 8 by ols-all: law" in printed and "sha256 " in printed
    run(monkeypatch, *JUDGE)
    assert "1 of 1 runs are open" in capsys.readouterr().out
    write_runs(np.append(COMPUTE, 1e7)[::-1])  # the rows may move
    run(monkeypatch, *JUDGE, "--output", "rows.csv")
    printed = capsys.readouterr().out
    assert "1 of 1 inside their 90 % interval" in printed and "not in the table" not in printed
    assert pd.read_csv("rows.csv")["actual"].tolist() == pytest.approx([2 * 1e7**-0.15 * 0.99])


def test_a_replay_is_called_one(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, *FREEZE, "--beyond", "1e5", "--output", "f.json")
    assert capsys.readouterr().out.startswith("replay of 3 runs from 5")
    run(monkeypatch, *JUDGE, "--finished", "ended", "--column", "cell=size")
    assert "replay of 20" in capsys.readouterr().out


def test_a_run_that_ended_before_its_forecast_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = [*COLUMNS, "--column", "cell=size"]
    run(monkeypatch, *FREEZE, "--column", "cell=size", "--candidates", "coming.csv", "--output", "f.json")
    write_runs(np.append(COMPUTE, 1e7))
    message = ended(monkeypatch, "judge", "runs.csv", "--forecast", "f.json", *named, "--finished", "ended")
    assert "ended on 2026-01-02T00:00:00+00:00, before the forecast was made" in message
    write_runs(np.append(COMPUTE, 1e7), finished="9999-01-01")
    run(monkeypatch, "judge", "runs.csv", "--forecast", "f.json", *named, "--finished", "ended")
    write_runs(np.append(COMPUTE, 1e7), finished="soon")
    message = ended(monkeypatch, "judge", "runs.csv", "--forecast", "f.json", *named, "--finished", "ended")
    assert "'soon' is no time" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FREEZE, "--candidates", "coming.csv", "--output", "runs.csv"], "it is there already"),
        ([*FREEZE, "--candidates", "runs.csv", "--output", "f.json"], "has been measured"),
        ([*FREEZE, "--without", "B", "--output", "f.json"], "the table has no column `model`"),
        ([*FREEZE, "--beyond", "1e9", "--output", "f.json"], "no run is left out"),
        (JUDGE, "f.json: no such file"),
        (["judge", "runs.csv", "--forecast", "runs.csv", *COLUMNS], "not JSON"),
    ],
)
def test_what_cannot_be_is_refused_with_the_next_step(
    own: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    assert message in ended(monkeypatch, *arguments)
    assert not Path("f.json").exists()
