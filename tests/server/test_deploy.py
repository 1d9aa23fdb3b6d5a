"""The files of deploy/, and the table of metrics in the docs, know no metric that there is not."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import typer.main
import yaml
from starlette.testclient import TestClient

from server.commands.cli import app
from server.fleet.status import Loading
from tests.server.fakes import FakeFleet
from tests.server.scrape import Scrape

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "alerts.yml"

TARGET = {"job", "instance"}
"""The labels that Prometheus itself puts on what it scrapes."""


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return found


def charts() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in charts():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")


def walked(query: str) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(promql_parser.parse(query), nodes.append)
    return nodes


def wanted(query: str) -> set[str]:
    """The names of series in a query."""
    return {node.name for node in walked(query) if isinstance(node, promql_parser.VectorSelector)}


def grouped(query: str) -> set[str]:
    """The labels that a query groups or joins by."""
    modifiers = [it for node in walked(query) if (it := getattr(node, "modifier", None))]
    lists = [getattr(it, "matching", None) or it for it in modifiers]
    return {label for it in lists for label in getattr(it, "labels", ())}


def left(query: str, there: dict[str, set[str]]) -> set[str]:
    """The labels of what comes out of a query; `and on (…)` changes nothing of its left side."""
    first = re.split(r"\sand on\b", query)[0]
    if any(isinstance(node, promql_parser.AggregateExpr) for node in walked(first)):
        return grouped(first) - {"le"}
    return set().union(*(there[name] for name in wanted(first))) | TARGET


@pytest.fixture
def scrape(client: TestClient, fleet: FakeFleet) -> Scrape:
    """A page on which every metric has a value."""
    fleet.device = replace(fleet.device, passes={1: 1}, barred=["x"])
    fleet.loading = [Loading("demo")]
    answer = client.post("/v1/images/generations", json={"prompt": "a"})
    assert answer.status_code == 200
    return Scrape(client.get("/metrics").text)


def test_every_query_asks_for_what_there_is(scrape: Scrape) -> None:
    there = scrape.labels() | {"up": set()}
    for query in queries():
        assert wanted(query), query
        for node in walked(query):
            if isinstance(node, promql_parser.VectorSelector):
                assert node.name in there, query
                names = {matcher.name for matcher in node.matchers.matchers}
                assert names <= there[node.name] | TARGET, query
        labels = set().union(*(there[name] for name in wanted(query)))
        assert grouped(query) <= labels | TARGET, query


def test_the_values_that_are_asked_for_can_be(scrape: Scrape) -> None:
    """Of labels whose values are ours, the ones in queries are among them."""
    values: dict[tuple[str, str], set[str]] = {}
    for sample in scrape.samples:
        for label in ("state", "outcome", "reason"):
            values.setdefault((sample.name, label), set()).add(sample.labels.get(label, ""))
    asked = [
        (node.name, matcher.name, matcher.value)
        for query in queries()
        for node in walked(query)
        if isinstance(node, promql_parser.VectorSelector)
        for matcher in node.matchers.matchers
        if matcher.name in ("state", "outcome", "reason")
    ]
    assert len(asked) >= 5
    for name, label, pattern in asked:
        for choice in pattern.split("|"):
            assert any(re.fullmatch(choice, value) for value in values[name, label]), (name, choice)


def test_what_is_shown_of_a_result_is_in_it(scrape: Scrape) -> None:
    there = scrape.labels() | {"up": set()}
    for panel in charts():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5m")
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert shown <= left(query, there) | {"le"}, query
    for rule in rules():
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= left(rule["expr"], there), rule["alert"]


def test_the_dashboard_is_whole() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(it["gridPos"]["x"], it["gridPos"]["y"]) for it in panels]
    assert len(set(places)) == len(places)
    assert all(it["gridPos"]["x"] + it["gridPos"]["w"] <= 24 for it in panels)
    variables = {it["name"] for it in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([it["targets"] for it in charts()])))
    assert used == variables | {"__rate_interval"}


def test_every_rule_says_when_and_what() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 8
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert promql_parser.parse_duration(rule.get("for", "1m"))


def test_the_scrape_is_of_what_the_rules_expect() -> None:
    example = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert example["rule_files"] == [ALERTS.name]
    (job,) = example["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in ALERTS.read_text()


def test_the_docs_have_every_metric_and_no_other(scrape: Scrape) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(darkroom_\w+)` \|([^|]*)\|", text, re.MULTILINE))
    ours = {name: it for name, it in scrape.families.items() if name.startswith("darkroom_")}
    there = {name + "_total" * (it.type == "counter"): it for name, it in ours.items()}
    assert rows.keys() == there.keys()
    for name, family in there.items():
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        assert set(re.findall(r"`(\w+)`", rows[name])) == labels, name


def test_the_docs_name_every_alert() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(Darkroom\w+)`", text)) == {rule["alert"] for rule in rules()}


def test_the_unit_uses_flags_that_there_are() -> None:
    text = (DEPLOY / "darkroom.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+/darkroom serve (.*)$", text, re.MULTILINE)
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {flag for parameter in serve.params for flag in parameter.opts}
    assert set(re.findall(r"--[\w-]+", command)) <= known


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_itself_takes_the_rules(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": _cases()}))
    for command in (["check", "rules", ALERTS], ["test", "rules", cases]):
        done = subprocess.run([str(PROMTOOL), *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _cases() -> list[dict[str, Any]]:
    """An hour of each trouble, and which alert it raises at the end."""
    at = 'job="darkroom",instance="here"'
    images = f'darkroom_requests_total{{{at},route="/v1/images/edits",model="demo"'
    waiting = {
        f"darkroom_queue_images{{{at}}}": "4x60",
        f"darkroom_queue_waiting_images{{{at}}}": "3x60",
    }
    troubles: dict[str, dict[str, str]] = {
        "DarkroomDown": {f"up{{{at}}}": "0x60"},
        "DarkroomNotReady": {f"darkroom_ready{{{at}}}": "0x60"},
        "DarkroomDeviceSetAside": {
            f'darkroom_device_state{{{at},device="a",state="set aside"}}': "1x60"
        },
        "DarkroomWorkerDies": {f'darkroom_device_worker_deaths_total{{{at},device="a"}}': "0+1x60"},
        "DarkroomJobsFail": {f'darkroom_jobs_total{{{at},outcome="lost"}}': "0x55 1x5"},
        "DarkroomErrors": {
            f'{images},status="200"}}': "0+9x60",
            f'{images},status="500"}}': "0+1x60",
        },
        "DarkroomStandsStill": waiting
        | {f'darkroom_device_images_total{{{at},device="a"}}': "7x60"},
        "DarkroomDeviceIdles": waiting
        | {
            f'darkroom_device_images_total{{{at},device="a"}}': "0+1x60",
            f'darkroom_device_busy_seconds_total{{{at},device="a"}}': "0+6x60",
        },
        "DarkroomRefuses": {
            f'{images},status="429"}}': "0+2x60",
            f'{images},status="200"}}': "0+8x60",
            f'darkroom_refusals_total{{{at},reason="queue_images"}}': "0+2x60",
        },
        "DarkroomQueueIsSlow": {
            f'darkroom_queue_wait_seconds_bucket{{{at},le="60.0"}}': "0+1x60",
            f'darkroom_queue_wait_seconds_bucket{{{at},le="120.0"}}': "0+9x60",
            f'darkroom_queue_wait_seconds_bucket{{{at},le="+Inf"}}': "0+9x60",
        },
        "DarkroomRewriterFails": {
            f'darkroom_rewrites_total{{{at},outcome="done"}}': "0+1x60",
            f'darkroom_rewrites_total{{{at},outcome="timeout"}}': "0+2x60",
        },
        "DarkroomIsFull": {f'darkroom_device_busy_seconds_total{{{at},device="a"}}': "0+60x180"},
    }
    in_order = {
        f'{images},status="200"}}': "0+9x60",
        f'{images},status="429"}}': "0x60",
        f'darkroom_refusals_total{{{at},reason="queue_images"}}': "0x60",
        f'darkroom_device_busy_seconds_total{{{at},device="a"}}': "0+50x60",
        f'darkroom_device_images_total{{{at},device="a"}}': "0+3x60",
        f'darkroom_rewrites_total{{{at},outcome="done"}}': "0+2x60",
        f'darkroom_rewrites_total{{{at},outcome="timeout"}}': "0+1x60",
        f'darkroom_jobs_total{{{at},outcome="lost"}}': "0x60",
        f'darkroom_device_worker_deaths_total{{{at},device="a"}}': "0x20 1x40",
        f"darkroom_ready{{{at}}}": "1x60",
        f"up{{{at}}}": "1x60",
        **waiting,
    }
    assert troubles.keys() == {rule["alert"] for rule in rules()}
    names = list(troubles)
    return [_case(series, names, raised=alert) for alert, series in troubles.items()] + [
        _case(in_order, names, raised=None)
    ]


def _case(series: dict[str, str], alerts: list[str], raised: str | None) -> dict[str, Any]:
    minutes = 180 if raised == "DarkroomIsFull" else 60
    counts = [
        f'count(ALERTS{{alertname="{it}",alertstate="firing"}}) or vector(0)' for it in alerts
    ]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": count,
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": "{}", "value": int(alert == raised)}],
            }
            for alert, count in zip(alerts, counts, strict=True)
        ],
    }
