"""Airflow's REST API, as far as the tests need it."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

DAG = "sensor_etl"
INSIGHT = "equipment_insight"
ENDED = ("success", "failed")


@dataclass(frozen=True)
class Airflow:
    """Airflow at an address, for a user."""

    address: str
    token: str = field(repr=False)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return what the API answers, parsed.

        Raises:
            urllib.error.HTTPError: it refused.
        """
        return _call(method, f"{self.address}/api/v2{path}", body, {"Authorization": f"Bearer {self.token}"})

    def trigger(self, run: str, dag: str = DAG, **conf: object) -> None:
        """Start a run by hand."""
        self.call("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "dag_run_id": run, "conf": conf})

    def state(self, run: str, dag: str = DAG) -> str:
        """Return the state of a run."""
        return str(self.call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def wait(self, run: str, seconds: float = 300, dag: str = DAG) -> str:
        """Return the state in which a run ended."""
        deadline = time.monotonic() + seconds
        while (state := self.state(run, dag)) not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run} is still {state}")
            time.sleep(0.5)
        return state

    def tasks(self, run: str, dag: str = DAG) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task, in the order of their start."""
        found = self.call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {item["task_id"]: item for item in sorted(found, key=lambda item: item["start_date"] or "~")}

    def insight(self, run: str, seconds: float = 300) -> dict[str, Any]:
        """Return the run of the analysis that the load of a run has caused, once it has ended."""
        loaded = _time(self.tasks(run)["load"]["end_date"])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for found in self.call("GET", f"/dags/{INSIGHT}/dagRuns?order_by=-run_after&limit=20")["dag_runs"]:
                if found["state"] in ENDED and _time(found["start_date"]) >= loaded:
                    return dict(found)
            time.sleep(0.5)
        raise TimeoutError(f"no run of {INSIGHT} followed that of {run}")

    def log(self, run: str, task: str, attempt: int = 1) -> str:
        """Return the log of a task as text, with the messages of its exceptions."""
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}?map_index=-1&full_content=true"
        lines = self.call("GET", path)["content"]
        return "\n".join(text for line in lines for text in (str(line.get("event", line)), *_errors(line)))


def log_in(address: str, user: str, password: str) -> Airflow:
    """Return the API for a user.

    Raises:
        urllib.error.HTTPError: the password is wrong.
    """
    answer = _call("POST", f"{address}/auth/token", {"username": user, "password": password}, {})
    return Airflow(address, answer["access_token"])


def _errors(line: dict[str, Any]) -> list[str]:
    """What the UI shows below the line of an exception."""
    return [str(error["exc_value"]) for error in line.get("error_detail") or []]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _call(method: str, url: str, body: object, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
