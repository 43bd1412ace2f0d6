"""The stall rule: what is decided about tasks that do not come back."""

import pytest

from xpscale.runtime.stall import (
    FACTOR,
    FIRST_FACTOR,
    MIN_PEERS,
    Cluster,
    GiveUp,
    Reissue,
    Restart,
    TaskInFlight,
    Turnaround,
    decide,
)

LIMIT_S, NOW = 10.0, 1_000.0
LATE, IN_TIME = NOW - LIMIT_S - 1, NOW - LIMIT_S + 1


def task(key="t", *holders, since=LATE, n_issues=1, suspects=()):
    return TaskInFlight(key, n_issues, frozenset(holders), since, frozenset(suspects))


def decided(*tasks, workers="abc"):
    return decide(Cluster(tasks, frozenset(workers), LIMIT_S), NOW)


CASES = {
    "in time": ([task("t", "a", since=IN_TIME)], []),
    "exactly at the limit": ([task("t", "a", since=NOW - LIMIT_S)], []),
    "overdue once": ([task("t", "a")], [Reissue("t", frozenset("bc"))]),
    "overdue twice": (
        [task("t", "a", "b", n_issues=2, suspects="a")],
        [GiveUp("t", frozenset("ab"))],
    ),
    "its worker is gone": ([task("t", n_issues=2)], []),
    "waiting for a worker is not held against it": ([task("t", since=0.0)], []),
    "not to a worker that was suspected before": (
        [task("t", "a", suspects="b")],
        [Reissue("t", frozenset("c"))],
    ),
    "nobody else can take it": (
        [task("t", "a", "b", suspects="c")],
        [Restart("t", frozenset("ab"))],
    ),
    "two queued behind one worker, others are free": (
        [task("t", "a"), task("u", "a")],
        [Reissue("t", frozenset("bc")), Reissue("u", frozenset("bc"))],
    ),
    "two queued behind one worker that is restarted": (
        [task("t", "a", n_issues=2), task("u", "a", n_issues=2)],
        [GiveUp("t", frozenset("a"))],
    ),
    "not to a worker that is being restarted": (
        [task("t", "a", n_issues=2), task("u", "b")],
        [GiveUp("t", frozenset("a")), Reissue("u", frozenset("c"))],
    ),
}


@pytest.mark.parametrize(("tasks", "actions"), CASES.values(), ids=CASES.keys())
def test_what_is_decided(tasks, actions):
    assert decided(*tasks) == actions


def test_with_a_single_worker_it_is_restarted_and_then_the_task_is_given_up():
    alone = TaskInFlight("t").issued(0.0).seen_on(frozenset("a"), 1.0)
    (action,) = decide(Cluster((alone,), frozenset("a"), LIMIT_S), 20.0)
    assert action == Restart("t", frozenset("a"))
    restarted = alone.after(action)
    assert (restarted.n_issues, restarted.suspects) == (2, frozenset("a"))
    back = restarted.seen_on(frozenset(), 21.0).seen_on(frozenset("a"), 30.0)
    assert decide(Cluster((back,), frozenset("a"), LIMIT_S), 39.0) == []
    assert decide(Cluster((back,), frozenset("a"), LIMIT_S), 41.0) == [GiveUp("t", frozenset("a"))]


def test_a_second_copy_has_its_own_time():
    first = TaskInFlight("t").issued(0.0).seen_on(frozenset("a"), 0.5)
    (action,) = decide(Cluster((first,), frozenset("ab"), LIMIT_S), 11.0)
    both = first.after(action).issued(11.0).seen_on(frozenset("ab"), 12.0)
    assert (both.n_issues, both.held_since, both.suspects) == (2, 12.0, frozenset("a"))
    assert decide(Cluster((both,), frozenset("ab"), LIMIT_S), 22.0) == []
    assert decide(Cluster((both,), frozenset("ab"), LIMIT_S), 22.1) == [
        GiveUp("t", frozenset("ab"))
    ]


def test_the_limit_is_of_the_patience_until_there_are_peers_and_then_of_their_median():
    turnaround = Turnaround(patience_s=2.0)
    for seconds in [1.0] * (MIN_PEERS - 1):
        assert turnaround.limit_s == FIRST_FACTOR * 2.0
        turnaround.add(seconds)
    turnaround.add(100.0)
    assert turnaround.limit_s == FACTOR * 1.0
    for _ in range(10):
        turnaround.add(0.01)
    assert turnaround.limit_s == 2.0  # never less than the patience
