"""URLs as they may be shown, and texts that repeat them."""

import pytest

from etl.urls import shown, without_secrets


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a/b.csv", "https://host/a/b.csv"),
        ("https://user:hunter22@host:8443/b.csv?sig=topsecret#frag", "https://host:8443/b.csv"),
        ("https://t0psecret@host/b.csv", "https://host/b.csv"),
        ("https://user:hunt@er22@host/b.csv", "https://host/b.csv"),
        ("https://user:hunt/er22@host/b.csv", "https://host/b.csv"),
        ("https://user:hunt?er22@host/b.csv", "https://host/b.csv"),
        ("https://user:hunt#er22@host/b.csv", "https://host/b.csv"),
        ("https://[::1]:80/b.csv?sig=topsecret", "https://[::1]:80/b.csv"),
        ("s3://key:secr3t@bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("s3://bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("s3://bucket/a@b.csv?versionId=x", "s3://bucket/a@b.csv"),
        ("abfs://box@account.dfs.core.windows.net/b.csv?sig=x", "abfs://account.dfs.core.windows.net/b.csv"),
        ("ftp://u:p@host/b.csv", "ftp://host/b.csv"),
        ("zip://a.csv::https://u:p@host/b.zip?sig=x", "zip://a.csv::https://host/b.zip"),
        ("simplecache::s3://k:s@bucket/b.csv", "simplecache::s3://bucket/b.csv"),
        ("/data/what?.csv", "/data/what?.csv"),
        ("s3:/key:secr3t@bucket/b.csv", "s3:bucket/b.csv"),
        ("https:user:hunter22@host/b.csv?sig=topsecret", "https:host/b.csv"),
        ("a:b@c.csv", "a:b@c.csv"),
    ],
)
def test_a_url_shows_scheme_host_and_path_alone(url, expected):
    assert shown(url) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cannot open {url}",
        "cannot open {url}: {url}",
        "403, url=URL('https://other.host/x?sig=another+secret')",
        "bad bucket name 'user:p%40ss-word@host'",
        "login as user with p@ss-word failed",
        "GET /b.csv?sig=t0p%2Fsecret failed",
        "signature t0p/secret is no good",
    ],
)
def test_a_text_holds_no_secret_when_a_library_repeats_it(text):
    url = "https://user:p%40ss-word@host/b.csv?sig=t0p%2Fsecret&se=2026"
    found = without_secrets(text.format(url=url), [url])
    for secret in ("p%40ss-word", "p@ss-word", "t0p%2Fsecret", "t0p/secret", "another"):
        assert secret not in found
    assert "host" in found or "***" in found


def test_the_urls_of_the_settings_hide_in_every_text(monkeypatch, tmp_path):
    monkeypatch.setenv("ETL_ANALYZE_WEBHOOK", "https://hooks.example/services/T0/tok3n")
    monkeypatch.setenv("ETL_OTLP_ENDPOINT", "http://user:hunter22@collector:4318")
    monkeypatch.setenv("ETL_SECRETS_DIR", str(tmp_path))
    (tmp_path / "ETL_WORKSPACE_URL").write_text("s3://key:mounted-secret@bucket/runs\n")
    text = "https://hooks.example/services/T0/tok3n http://user:hunter22@collector:4318/v1/metrics"
    found = without_secrets(f"{text} key:mounted-secret@bucket")
    for secret in ("tok3n", "hunter22", "mounted-secret"):
        assert secret not in found
    assert "http://collector:4318/v1/metrics" in found


@pytest.mark.parametrize(
    "text",
    [
        "no answer from https://hooks.example/services/T0/tok3n?key=an0ther",
        "no answer from https://hooks.example/services/T0/tok3n",
        "HTTPSConnectionPool(host='hooks.example'): Max retries exceeded with url: /services/T0/tok3n?key=an0ther",
        'POST /services/T0/tok3n HTTP/1.1" 404',
        "path services/T0/tok3n",
    ],
)
def test_the_path_of_the_webhook_is_hidden_when_it_has_a_query(monkeypatch, text):
    monkeypatch.setenv("ETL_ANALYZE_WEBHOOK", "https://hooks.example/services/T0/tok3n?key=an0ther")
    found = without_secrets(text)
    assert "tok3n" not in found
    assert "an0ther" not in found


def test_a_text_is_unchanged_when_the_webhook_has_no_path(monkeypatch):
    monkeypatch.setenv("ETL_ANALYZE_WEBHOOK", "https://hooks.example/")
    assert without_secrets("a/b and /c") == "a/b and /c"


@pytest.mark.parametrize("name", ["etl_analyze_webhook", "Etl_Analyze_Webhook"])
def test_settings_hide_when_their_names_are_not_in_capitals(monkeypatch, tmp_path, name):
    url = "https://hooks.example/services/T0/tok3n"
    monkeypatch.setenv("ETL_SECRETS_DIR", str(tmp_path))
    (tmp_path / name).write_text(url)
    assert "tok3n" not in without_secrets(url)
    (tmp_path / name).unlink()
    monkeypatch.setenv(name, url)
    assert "tok3n" not in without_secrets(url)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ETL_KAFKA_PASSWORD", "hunter22", "login(hunter22) failed"),
        ("ETL_CASSANDRA_PASSWORD", "hunt+er22", "login as hunt%2Ber22 failed"),
        ("ETL_PAGE_PASSWORD", "hunter22", "hunter22"),
        ("AWS_SECRET_ACCESS_KEY", "hunter22", "signed with hunter22"),
        ("AWS_SESSION_TOKEN", "hunter22", "X-Amz-Security-Token: hunter22"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter22,authorization=Bearer%20hunt+er22", "a: hunter22, Bearer hunt+er22"),
    ],
)
def test_passwords_and_tokens_of_the_environment_hide_in_every_text(monkeypatch, name, value, text):
    monkeypatch.setenv(name, value)
    found = without_secrets(text)
    assert "hunt" not in found
    assert "***" in found


def test_secrets_are_hidden_when_a_setting_is_not_utf8(monkeypatch):
    monkeypatch.setenv("ETL_WORKSPACE_URL", "s3://key:hunter22\udcff@bucket/a")
    assert without_secrets("cannot open s3://key:hunter22\udcff@bucket/a now") == "cannot open s3://bucket/a now"
