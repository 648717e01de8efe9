"""Nodes that failed: who keeps away from them, and for how long."""

from pathlib import Path

from snakemake_executor_plugin_submitit.nodes import FILE, FailedNode, avoided_nodes, report_nodes
from snakemake_executor_plugin_submitit.resources import Parameters


def test_a_node_is_avoided_for_its_time_and_then_used_again(tmp_path: Path) -> None:
    report_nodes(tmp_path, [FailedNode("n3", "NODE_FAIL", "train", 120, time=1000.0)])
    report_nodes(tmp_path, [FailedNode("n[5-6]", "BOOT_FAIL", "evaluate", 60, time=2000.0)])
    assert list(avoided_nodes(tmp_path, now=3000.0)) == ["n3", "n[5-6]"]
    assert list(avoided_nodes(tmp_path, now=1000.0 + 120 * 60)) == []
    assert avoided_nodes(tmp_path / "elsewhere") == {}


def test_half_a_line_of_a_killed_driver_costs_only_that_line(tmp_path: Path) -> None:
    report_nodes(tmp_path, [FailedNode("n1", "NODE_FAIL", "a", 10, time=0.0)])
    with open(tmp_path / FILE, "a") as file:
        file.write('{"node": "n2", "sta')
    report_nodes(tmp_path, [FailedNode("n3", "NODE_FAIL", "b", 10, time=0.0)])
    assert list(avoided_nodes(tmp_path, now=1.0)) == ["n1", "n3"]


def test_avoided_nodes_join_those_that_the_rule_excludes() -> None:
    parameters = Parameters("train", 60, 1, exclude="n9").without_nodes({"n3": None})
    assert parameters.exclude == "n9,n3"
