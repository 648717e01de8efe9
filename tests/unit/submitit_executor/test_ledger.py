"""The ledger that outlives its driver."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from snakemake_executor_plugin_submitit.ledger import DONE, SUBMITTED, SUBMITTING, Ledger, Record, job_key


def record(ledger: Ledger, state: str = SUBMITTED, key: str = "k", cluster_id: str = "7") -> Record:
    return Record(key, "train: out", state, ledger.driver, cluster_id=cluster_id)


def test_a_driver_finds_what_an_earlier_one_submitted(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    first.append([record(first, SUBMITTING, cluster_id=""), record(first)])
    first.close()
    second = Ledger(tmp_path)
    with second.locked():
        found = second.latest("k")
    assert found is not None and (found.state, found.cluster_id) == (SUBMITTED, "7")
    assert not second.is_alive(first.driver)


def test_a_driver_sees_what_another_writes_meanwhile(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    with one.locked():
        one.append([record(one)])
    with other.locked():
        assert other.latest("k") is not None
        other.append([record(other, DONE)])
    with one.locked():
        latest = one.latest("k")
    assert latest is not None and latest.state == DONE
    assert other.is_alive(one.driver)


def test_half_a_line_of_a_killed_driver_costs_only_that_line(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    first.append([record(first)])
    with open(first.path, "a") as file:
        file.write('{"key": "x", "na')
    second = Ledger(tmp_path)
    with second.locked():
        second.append([record(second, key="y")])
    third = Ledger(tmp_path)
    with third.locked():
        assert third.latest("k") is not None and third.latest("y") is not None
        assert third.latest("x") is None


def _submit_unless_known(folder: Path, done: multiprocessing.Queue[str]) -> None:
    ledger = Ledger(folder)
    with ledger.locked():
        if ledger.latest("k") is None:
            ledger.append([record(ledger)])
            done.put(ledger.driver)


def test_of_many_drivers_at_once_one_submits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    done: multiprocessing.Queue[str] = context.Queue()
    drivers = [context.Process(target=_submit_unless_known, args=(tmp_path, done)) for _ in range(8)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert done.get(timeout=10) and done.empty()


def test_a_job_is_known_by_rule_and_outputs_whatever_their_order() -> None:
    assert job_key("train", ["b", "a"], "t") == job_key("train", ["a", "b"], "other")
    assert job_key("train", ["a"], "t") != job_key("evaluate", ["a"], "t")
    assert job_key("train", [], "t") != job_key("train", [], "u")
