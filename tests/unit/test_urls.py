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
