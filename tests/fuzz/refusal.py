"""The form of an error for people."""

LONGEST = 100_000


def check_refusal(error: Exception, *secrets: str) -> None:
    """Check that an error is one line that has none of these secrets."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < LONGEST
    assert not any(secret in text for secret in secrets), "a secret is shown"
