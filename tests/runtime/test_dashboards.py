"""The dashboard and the alert rules, checked by Prometheus' own tool and asked about a live run."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.debian import debian_command
from tests.support.processes import Process, free_ports
from xpscale.runtime.events import RunStarted, TaskEnded, WorkerChanged
from xpscale.runtime.prometheus import MetricsServer
from xpscale.types import Part, Pixel, TaskReport, TaskStatus

FOLDER = Path(__file__).parents[2] / "deploy/dashboards"
RUN = RunStarted("infer", 8, 800, n_workers=2)


def expressions():
    """Every expression by where it stands, with the dashboard's variables filled in."""
    board = json.loads((FOLDER / "grafana.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], re.sub(r"\$(command|run)\b", ".*", target["expr"])
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def metrics_in(expression):
    return set(re.findall(r"\bxpscale_\w+", expression))


def report(number, status=TaskStatus.WRITTEN):
    part = Part(Pixel(5, number), f"part-{number}", 90, 500, "0" * 64)
    return TaskReport(
        f"t{number}",
        status,
        (part,),
        n_in=100,
        n_out=90,
        n_rejected={"no_g_flux": 10},
        forward_s=0.5,
        started=time.time() - 1,
        wall_s=1.0,
        worker="host:1",
        peak_memory=10**9,
        details={"bytes_in": 1_000, "loss": {"training": 1.0, "held_out": 2.0}},
    )


def tell(metrics):
    """A run in the middle of which a task failed and a worker was lost."""
    metrics(RUN)
    for number in range(3):
        metrics(TaskEnded(report(number)))
    metrics(TaskEnded(report(3, TaskStatus.FAILED)))
    metrics(WorkerChanged("tcp://10.0.0.1:1", "lost"))


def test_every_metric_and_label_is_one_that_a_run_has():
    with MetricsServer(0) as metrics:
        tell(metrics)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    labels = {}
    for name, found in re.findall(r"^(xpscale_\w+)\{(.*)\} ", text, re.M):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    for where, expression in expressions():
        for name in metrics_in(expression):
            assert name in labels, f"{where}: {name}"
        for name, matched in re.findall(r"(xpscale_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r'(\w+)=?[=!]~?"', matched)) <= labels[name], where


@pytest.fixture
def server(tmp_path):
    """A Prometheus that scrapes a run each second: asks it something."""
    program = debian_command("prometheus")
    with MetricsServer(0) as metrics:
        tell(metrics)
        target = [{"targets": [f"127.0.0.1:{metrics.port}"]}]
        jobs = [{"job_name": "xpscale", "scrape_interval": "1s", "static_configs": target}]
        settings = {"rule_files": [str(FOLDER / "alerts.yml")], "scrape_configs": jobs}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
        (port,) = free_ports(1)
        process = Process(
            [
                program,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            tmp_path / "prometheus.log",
        )

        def ask(expression):
            query = urllib.parse.urlencode({"query": expression})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            url = f"http://127.0.0.1:{port}/api/v1/query?{query}"
            try:
                with opener.open(url, timeout=10) as answer:
                    return json.load(answer)["data"]["result"]
            except (urllib.error.URLError, ConnectionError):
                return []

        process.start()
        try:
            process.wait_until(lambda: ask("count_over_time(xpscale_tasks[1m]) >= 3"))
            yield ask
        finally:
            process.signal(signal.SIGTERM)
            process.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="Prometheus from Debian's packages")
def test_every_expression_is_answered_by_a_server_that_scrapes_a_run(server):
    for where, expression in expressions():
        found = server(expression)
        if where.startswith("Xpscale"):  # an alert: what it does not warn of is empty
            holds = where in ("XpscaleTasksFail", "XpscaleStandsStill")  # no task ends any more
            assert bool(found) == holds, (where, found)
        else:
            assert found, f"{where}: {expression}"
    (tasks,) = server("xpscale_tasks")
    assert (tasks["metric"]["run"], tasks["value"][1]) == (RUN.run, "8")


@pytest.mark.skipif(sys.platform != "linux", reason="promtool from Debian's packages")
def test_the_rules_are_sound_for_prometheus_own_tool(tmp_path):
    promtool = debian_command("promtool", "prometheus")
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, (_, expression) in enumerate(expressions())
    ]
    every = tmp_path / "every.yml"
    every.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    command = [promtool, "check", "rules", str(every), str(FOLDER / "alerts.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout + done.stderr
