"""The Docker daemon as the builds use it."""

import pytest

from images import docker
from tests.unit.images.conftest import Program


@pytest.mark.parametrize(
    "printed", ["Step 3/12 : RUN apt-get update", "#7 [builder 3/5] RUN apt-get update", "#9 [2/4] COPY lib /opt/lib"]
)
def test_build_tells_which_step_it_has_come_to_whatever_the_builder(program: Program, printed: str) -> None:
    program("docker", f"echo '{printed}'; echo 'Get:1 package'; echo ' ---> 0123'")
    told: list[str] = []
    docker.build("any:1", ".", report=told.append)
    assert told == [printed]
