"""Builds of the container images.

The context of each build is a folder with the files that it needs, which this module puts together: the Dockerfiles
cannot be built without it. Variables of the environment:

  BASE                             source of the base image, see images/base.py
  EXTRAS                           extras of the package in the images that hold it, `s3 otlp` by default
  CA_BUNDLE                        certificates for a network that inspects TLS, by default the file in SSL_CERT_FILE
  PIP_INDEX_URL, UV_DEFAULT_INDEX  another package index

The last three reach only the stages of a build that fetch packages, never an image.
"""

import os
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images import base, docker, jars, sbom
from images.command import LOCKS, Report, exclusive, run, step
from images.errors import PrerequisiteError
from images.names import JAVA, PACKAGE, PANDAS, PYTHON, TITLES
from images.paths import ROOT

REPOSITORY = "sensor-etl"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
UV_VERSION = "0.13.9"
EXTRAS = "s3 otlp"
AT_ONCE = 2


@dataclass(frozen=True)
class Built:
    """A finished build: size of the image in bytes, duration in seconds, whether the image is the same as before."""

    name: str
    size: int
    seconds: float
    cached: bool


def tag(name: str) -> str:
    """Return name and tag of an image, as in the chart's defaults."""
    return f"{REPOSITORY}/{name}:{VERSION}"


def build(name: str, base_image: str, report: Report) -> Built:
    """Build one image, report the progress, and write the SBOM to `.cache/images/<name>.cdx.json`.

    Raises:
        PrerequisiteError: `CA_BUNDLE` names a file that does not exist.
        CommandError: The image could not be built.
    """
    begin, before = time.monotonic(), docker.image_id(tag(name))
    with tempfile.TemporaryDirectory() as folder:
        report("copy files")
        fill(Path(folder), name)
        docker.build(tag(name), *options(name, base_image), folder, report=report)
    image = docker.image_id(tag(name)) or ""
    if not sbom.is_current(name, image):
        report("write the SBOM")
        sbom.write(name, tag(name), image, _components(name))
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", tag(name)))
    return Built(name, size, time.monotonic() - begin, image == before)


def options(name: str, base_image: str) -> list[str]:
    """Return the options of `docker build` for an image."""
    found, arguments = [], {"BASE": base_image}
    if name in PYTHON:
        arguments |= {"UV_VERSION": UV_VERSION}
        # Docker takes their values from the environment: an index may hold a password, and all users see arguments.
        found += [f"--build-arg={key}" for key in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX") if os.environ.get(key)]
    if name in PACKAGE:
        arguments |= {"STAGE": name, "EXTRAS": extras(), "UNDER": "pandas" if name in PANDAS else "shared"}
        found.append(f"--target={name}")
    labels = {"title": TITLES[name], "version": VERSION, "licenses": "Apache-2.0", "base.name": base_image}
    found += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    return found + [f"--label=org.opencontainers.image.{key}={value}" for key, value in labels.items()]


def extras() -> str:
    """Return the extras of the package that all images with it have, besides their own."""
    return os.environ.get("EXTRAS", EXTRAS)


def uv() -> str:
    """Return the uv of this folder, or that of the PATH."""
    own = ROOT / ".tools" / f"uv-{UV_VERSION}" / "bin" / "uv"
    return str(own) if own.exists() else "uv"


def _components(name: str) -> Iterator[dict[str, Any]]:
    yield from sbom.debian(tag(name))
    if name in PYTHON:
        project, wanted = (ROOT, (name, *extras().split())) if name in PACKAGE else (ROOT / "images" / name, ())
        yield from sbom.python(uv(), project, wanted)
    if name in JAVA:
        yield from sbom.java(ROOT / "images" / name / "pom.xml")


def fill(context: Path, name: str) -> None:
    """Copy the files of a build to its folder.

    Raises:
        PrerequisiteError: `CA_BUNDLE` names a file that does not exist.
        CommandError: The jars could not be resolved.
    """
    own = Path("images") if name in PACKAGE else Path("images", name)
    shutil.copy2(ROOT / own / "Dockerfile", context)
    if name in PACKAGE:
        for file in (
            "pyproject.toml",
            "uv.lock",
            "README.md",
            "LICENSE",
            "images/add",
            "images/bytecode",
            "images/slim",
        ):
            shutil.copy2(ROOT / file, context)
        _copy(Path("etl"), context)
    else:
        _copy(own, context)
    if name == "airflow":
        _copy(Path("dags"), context)
    if name in JAVA:
        shutil.copytree(jars.resolve(name), context / own / "lib")
    if name in PYTHON:
        _add_certificates(context / "certificates")


def _copy(folder: Path, context: Path) -> None:
    shutil.copytree(ROOT / folder, context / folder, ignore=shutil.ignore_patterns("__pycache__"))


def _add_certificates(folder: Path) -> None:
    folder.mkdir()
    bundle = os.environ.get("CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if bundle and not Path(bundle).is_file():
        raise PrerequisiteError(f"CA_BUNDLE: {bundle} is no file")
    if bundle:
        shutil.copy2(bundle, folder / "ca-certificates.crt")


def build_all(names: Sequence[str]) -> list[Built]:
    """Build images, two at a time, and report each on standard error when it is finished."""
    with exclusive(LOCKS / "images", "build images"), ThreadPoolExecutor(AT_ONCE) as pool:
        base_image = base.image()
        tasks = [pool.submit(_build_step, name, base_image, names) for name in names]
        try:
            return [task.result() for task in tasks]
        finally:
            pool.shutdown(cancel_futures=True)


def _build_step(name: str, base_image: str, names: Sequence[str]) -> Built:
    with step(f"build image {name} ({names.index(name) + 1} of {len(names)})") as report:
        return build(name, base_image, report)


def print_table(images: Sequence[Built], seconds: float) -> None:
    """Print size and build time of each image, and the time of all."""
    print(f"{'image':<32} {'MB':>6} {'s':>7}")
    for image in images:
        note = "  as before" if image.cached else ""
        print(f"{tag(image.name):<32} {image.size / 1e6:>6.0f} {image.seconds:>7.1f}{note}")
    print(f"{'all':<32} {'':>6} {seconds:>7.1f}")
