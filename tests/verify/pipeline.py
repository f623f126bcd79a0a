"""The scheduler of a verification: it starts stages as a user's would, with Airflow's rules for retries."""

import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from etl.errors import DeliveryError, NothingNew, SettingsError
from tests.verify.gateways import MAPPING, Gateway, write_csv

STAGES = ("consume", "transform", "load")
TRIES = 9
# An attempt that takes longer hangs: all services are back much earlier.
HANGS_SECONDS = 900.0
# Bytes that a file of a full workspace can have.
FULL = 512
NO_RETRY = (SettingsError.exit_code, NothingNew.exit_code)
# The stages look names up as Python does; only these names are the test's.
SITE = """\
import os, socket
from pathlib import Path
from tests.integration import names
for file in os.environ["VERIFY_NAMES"].split(os.pathsep):
    socket.getaddrinfo = names.add(Path(file), socket.getaddrinfo)
"""


@dataclass(eq=False)
class Attempt:
    """A process of the command `etl`."""

    run: str
    command: str
    process: subprocess.Popen[bytes]
    began: float
    # The scheduler takes it for dead, and starts another one.
    lost: bool = False
    # The scheduler does not go on with its run.
    abandoned: bool = False

    @property
    def name(self) -> str:
        """What it does, and its process."""
        return f"{self.command} of {self.run} (process {self.process.pid})"

    def ends(self) -> int:
        """Wait until it ends, and return its exit code."""
        while (code := self.process.poll()) is None:
            time.sleep(0.002)
        return code

    def processes(self) -> list[psutil.Process]:
        """The living processes of it: `etl run` and its stage, or a stage."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []


class Pipeline:
    """Runs of the pipeline, one after the other, until it is stopped; what it writes goes into a folder."""

    def __init__(
        self, environment: dict[str, str], folder: Path, seed: int, names: list[Path], gateway: Gateway
    ) -> None:
        """Prepare it."""
        self.folder, self.gateway = folder, gateway
        for name in ("site", "logs"):
            (folder / name).mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        (folder / "mapping.yaml").write_text(MAPPING)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
        path = os.pathsep.join((str(folder / "site"), str(Path(__file__).parents[2])))
        files = os.pathsep.join(map(str, names))
        self.environment = {**kept, **environment, "PYTHONPATH": path, "VERIFY_NAMES": files}
        self.chance = random.Random(seed)
        self.stop = threading.Event()
        self.full = False
        self.runs = 0
        self.codes: Counter[int] = Counter()
        # How long a command took that was last left alone.
        self.seconds: dict[str, float] = {}
        self.complaints: list[str] = []
        self._lock = threading.Lock()
        self._attempts: list[Attempt] = []
        self._threads: list[threading.Thread] = []
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        """Let another scheduler do runs one after the other."""
        self._threads.append(threading.Thread(target=self._schedule, daemon=True))
        self._threads[-1].start()

    def start_run(self) -> str:
        """Let another scheduler do one run; return its name."""
        name = self._name()
        self._threads.append(threading.Thread(target=self.run, args=(name,), daemon=True))
        self._threads[-1].start()
        return name

    def end(self) -> None:
        """Wait for the runs that are on their way, and for all processes, also those that were lost."""
        self.stop.set()
        for thread in [*self._threads, *self._readers]:
            thread.join()

    def attempts(self) -> list[Attempt]:
        """List the attempts that run, the oldest first."""
        with self._lock:
            return list(self._attempts)

    def run(self, name: str) -> int | None:
        """Do a run; return the exit code of the attempt that ended it, None if retries did not help."""
        whole = self.chance.random() < 0.25
        if not whole:
            code: int | None = 0
            for stage in STAGES:
                if code == 0:
                    code = self._try(name, stage)
            return code
        file = self.folder / f"{name}.csv"
        write_csv(file, [self.gateway.reading(fresh=True) for _ in range(20)])
        return self._try(name, "run", ETL_GENERATE_SOURCE="recorded", ETL_GENERATE_RECORDED_URL=str(file))

    def _schedule(self) -> None:
        while not self.stop.wait(self.chance.random()):
            self.run(self._name())

    def _name(self) -> str:
        with self._lock:
            self.runs += 1
            return f"run-{self.runs:03}"

    def _try(self, run: str, command: str, **variables: str) -> int | None:
        """Start a command until it ends well, or in a way that no retry changes."""
        for number in range(TRIES):
            attempt = self._launch(run, command, **variables)
            while (code := attempt.process.poll()) is None and not attempt.lost:
                if time.monotonic() - attempt.began > HANGS_SECONDS:
                    self.complaints.append(f"{attempt.name} hangs")
                    return None
                time.sleep(0.05)
            with self._lock:
                self._attempts.remove(attempt)
            if code is not None:
                self._judge(attempt, code)
                if code == 0 or code in NO_RETRY:
                    return code
                # Another run has committed, or the offsets are gone: no retry of this one helps.
                if code == DeliveryError.exit_code or attempt.abandoned:
                    return None
            self.stop.wait(min(0.2 * 2**number, 5.0) * self.chance.random())
        return None

    def _judge(self, attempt: Attempt, code: int) -> None:
        """Complain of an end that Airflow would not retry, or that nobody has foreseen."""
        self.codes[code] += 1
        if code == 0:
            self.seconds[attempt.command] = time.monotonic() - attempt.began
        if code in (1, SettingsError.exit_code):
            self.complaints.append(f"{attempt.name} ended with exit code {code}: see {self._log(attempt)}")

    def _log(self, attempt: Attempt) -> Path:
        return self.folder / "logs" / f"{attempt.run}-{attempt.command}-{attempt.process.pid}.log"

    def _launch(self, run: str, command: str, **variables: str) -> Attempt:
        process = subprocess.Popen(
            [sys.executable, "-m", "etl", command],
            env=self.environment | variables | {"ETL_RUN_ID": run},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_limit if self.full else None,
        )
        attempt = Attempt(run, command, process, time.monotonic())
        reader = threading.Thread(target=self._read, args=(attempt,), daemon=True)
        with self._lock:
            self._attempts.append(attempt)
            self._readers.append(reader)
        reader.start()
        return attempt

    def _read(self, attempt: Attempt) -> None:
        """Keep the output: the process itself may not let a file grow. It ends with the last of its processes."""
        with self._log(attempt).open("wb") as log:
            for line in attempt.process.stdout or []:
                log.write(line)
                log.flush()
            log.write(f"exit code {attempt.process.wait()}\n".encode())

    def kill(self) -> None:
        """End all processes."""
        self.stop.set()
        for attempt in self.attempts():
            for process in attempt.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def fill(self, full: bool) -> None:
        """Let no file of the stages grow, as on a full disk, or let them grow again."""
        self.full = full
        soft = FULL if full else resource.RLIM_INFINITY
        for attempt in self.attempts():
            for process in attempt.processes():
                with suppress(psutil.Error, OSError):
                    process.rlimit(psutil.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, resource.RLIM_INFINITY))
