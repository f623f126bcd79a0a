"""Users and roles as `etl grant` takes them: a folder of secrets for each stage."""

from pathlib import Path


def mount(folder: Path, passwords: dict[str, str], names: dict[str, str] | None = None) -> Path:
    """Write the passwords of some stages, and the names of those users that are not called like their stage."""
    for stage, password in passwords.items():
        (folder / stage).mkdir(parents=True, exist_ok=True)
        (folder / stage / "password").write_text(password)
    for stage, name in (names or {}).items():
        (folder / stage / "username").write_text(name)
    return folder
