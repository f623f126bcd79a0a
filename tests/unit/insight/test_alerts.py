"""The webhook: what is no URL ends with one line that holds none of it."""

import pytest
from pydantic import SecretStr

from etl.errors import SettingsError
from etl.insight import alerts

ALERT = {"event_id": "e", "state": "open"}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/services/T0/tok3n with a blank",
        "https://user:tok3n@127.0.0.1/services",
        "https://127.0.0.1:tok3n/services",
        "https://127.0.0.1/services/t\u00f6k3n-tok3n",
        "https://[127.0.0.1/tok3n",
    ],
)
def test_a_webhook_is_refused_in_one_line_without_its_token_when_it_is_no_good_url(url):
    with pytest.raises(SettingsError, match="ETL_ANALYZE_WEBHOOK") as caught:
        alerts._call(SecretStr(url), ALERT, 0.0)
    assert "tok3n" not in str(caught.value)
    assert "\n" not in str(caught.value)
