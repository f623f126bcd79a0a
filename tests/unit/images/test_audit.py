"""The audit, by the real uv and a database of this test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images import audit, sbom
from images.errors import CommandError, PrerequisiteError, ServiceError

BAD = "GHSA-aaaa-bbbb-cccc"
PROJECT = '[project]\nname = "plant"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["leaky==1.0"]\n'
LOCK = """version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "leaky"
version = "1.0"
source = { registry = "https://index.example/simple" }

[[package]]
name = "plant"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "leaky" }]

[package.metadata]
requires-dist = [{ name = "leaky", specifier = "==1.0" }]
"""


class _Database(BaseHTTPRequestHandler):
    """It knows one vulnerability of one package."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": BAD, "modified": "2026-01-05T00:00:00Z"}]}
        self._answer({"results": [found if query["package"]["name"] == "leaky" else {} for query in queries]})

    def do_GET(self) -> None:
        self._answer({"id": BAD, "modified": "2026-01-05T00:00:00Z", "summary": "leaks", "affected": []})

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"--service-url=http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "uv.lock").write_text(LOCK)
    return tmp_path


def test_audit_fails_when_a_locked_package_has_a_known_vulnerability(project: Path, database: str) -> None:
    with pytest.raises(ServiceError, match=BAD):
        audit.audit_lock(project, database)


def test_audit_passes_when_the_vulnerability_is_accepted(
    project: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "allowed", lambda: {BAD: "nobody calls it"})
    assert audit.audit_lock(project, database).endswith("2 locked packages without known vulnerabilities, 1 accepted")


@pytest.mark.parametrize("option", ["--service-url=http://127.0.0.1:1", "--offline"])
def test_audit_passes_and_says_so_in_one_line_when_the_database_is_absent(
    project: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    line = audit.audit_lock(project, option)
    assert line.endswith("not looked up, because the database of vulnerabilities does not answer")
    assert "\n" not in line


def test_audit_fails_when_the_lock_file_is_broken(project: Path, database: str) -> None:
    (project / "uv.lock").write_text(LOCK.replace("requires-python", "python"))
    with pytest.raises(CommandError, match="uv audit"):
        audit.audit_lock(project, database)


def test_accepted_vulnerability_is_refused_when_it_has_no_reason(tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text(f"- {{id: {BAD}, package: leaky}}\n")
    with pytest.raises(PrerequisiteError, match="needs id, package and reason"):
        audit.allowed(tmp_path / "audit.yaml")


@pytest.mark.parametrize(
    ("component", "problem"),
    [
        ({"name": "pyarrow", "version": "1.0", "purl": "pkg:pypi/pyarrow@1.0"}, "pyarrow 1.0 is not in uv.lock"),
        ({"name": "libc6", "purl": "pkg:deb/debian/libc6"}, "no version or no origin"),
        ({"name": "libc6", "version": "2.36"}, "no version or no origin"),
        (None, "names no package"),
    ],
)
def test_sbom_is_refused_when_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, component: dict[str, str] | None, problem: str
) -> None:
    monkeypatch.setattr(sbom, "FOLDER", tmp_path)
    sbom.write("load", "tag", "id", [component] if component else [])
    with pytest.raises(ServiceError, match=problem):
        audit.audit_sboms()


def test_sbom_passes_when_it_fits_and_others_are_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "FOLDER", tmp_path)
    monkeypatch.setattr(audit, "_locked", lambda _: {("pyarrow", "1.0")})
    parts = [("pypi/pyarrow@1.0", "pyarrow", "1.0"), ("deb/debian/libc6@2.36", "libc6", "2.36")]
    sbom.write("load", "tag", "id", [{"name": n, "version": v, "purl": f"pkg:{p}"} for p, n, v in parts])
    assert audit.audit_sboms() == "SBOMs: 1 fit their images, 10 not there (`make images` writes them)"
