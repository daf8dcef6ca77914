"""What a process may use of the machine, where a container or a batch system leaves it less."""

import os

import pytest

from p3m_jax.runtime.machine import (
    available_cores,
    available_memory,
    default_memory,
    group_limits,
    machine_memory,
)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no cores can be chosen here")
def test_cores_are_those_that_the_process_may_run_on():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cores() == len(allowed)


def write(root, limits):
    for name, value in limits.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")


def test_memory_is_bounded_by_every_group_above(tmp_path):
    own, root = tmp_path / "own", tmp_path / "groups"
    own.write_text("0::/job/step\n")
    write(root, {"job/memory.max": 3_000, "job/step/memory.max": "max", "memory.max": 9_000})
    assert sorted(group_limits(own, root)) == [3_000, 9_000, 9_000]


def test_memory_is_bounded_by_groups_of_version_1(tmp_path):
    own, root = tmp_path / "own", tmp_path / "groups"
    own.write_text("12:cpu,cpuacct:/a\n4:memory:/docker/b\n1:name=systemd:/\n0::/\n")
    write(root, {"memory/docker/b/memory.limit_in_bytes": 5_000, "cpu/a/memory.max": 1})
    write(root, {"memory/memory.limit_in_bytes": 2**63 - 4096})
    assert min(group_limits(own, root)) == 5_000


def test_in_a_container_the_groups_at_the_root_count(tmp_path):
    own, root = tmp_path / "own", tmp_path / "groups"
    own.write_text("0::/outside/of/it\n")
    write(root, {"memory.max": 7_000})
    assert set(group_limits(own, root)) == {7_000}
    assert available_memory(own, root) == 7_000


def test_without_control_groups_the_machine_has_all_of_its_memory(tmp_path):
    nowhere = tmp_path / "none", tmp_path / "none"
    assert group_limits(*nowhere) == []
    assert available_memory(*nowhere) == machine_memory()


def test_a_run_takes_three_quarters_of_what_there_is():
    assert 1e8 < default_memory() <= 0.75 * available_memory()
