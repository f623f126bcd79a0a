"""Names of a test's own in this process, or in a command: `python -m tests.integration.names FILE ARGUMENT...`.

Only the lookup of these names is the test's; what answers at their addresses is real.
"""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add(names: Path, lookup: Callable[..., Any]) -> Callable[..., Any]:
    """Make a lookup that knows the names of a file beside all others: a name and its addresses a line, read each time.

    A name without an address is one that nobody knows at the moment, as that of a headless Service without a ready pod.
    """

    def looked_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        known = {line.split()[0]: line.split()[1:] for line in names.read_text().splitlines()}
        if host not in known:
            return lookup(host, port, *arguments, **options)
        if not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for address in known[host] for found in lookup(address, port, *arguments, **options)]

    return looked_up


if __name__ == "__main__":
    from etl.cli import main

    socket.getaddrinfo = add(Path(sys.argv.pop(1)), socket.getaddrinfo)
    main()
