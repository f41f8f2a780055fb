"""Who may talk to the server."""

import pytest

from glus_edge.runtime.serving.access import Access, access_for, is_loopback

OPEN, CLOSED = Access(None), Access("secret")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "127.3.2.1", "[::1]:8000", "[::1]"])
def test_without_a_token_this_machine_is_let_in(host):
    assert OPEN.refusal(host, None, None) is None
    assert OPEN.refusal(host, f"http://{host}", None) is None


@pytest.mark.parametrize(
    "host", [None, "", "example.org", "example.org:8000", "10.0.0.1:80", "localhost.example.org", "[", "]:["]
)
def test_without_a_token_names_of_others_are_refused(host):
    """A name that leads here by a foreign DNS is how a page elsewhere would get in."""
    assert "expected localhost" in (OPEN.refusal(host, None, None) or "")


@pytest.mark.parametrize("access", [OPEN, CLOSED])
@pytest.mark.parametrize(
    "origin", ["http://example.org", "null", "", "http://localhost:9000", "http://[", "localhost:8000"]
)
def test_pages_of_other_sites_are_refused_whatever_they_know(access, origin):
    assert "expected one of this server" in (access.refusal("localhost:8000", origin, "secret") or "")


@pytest.mark.parametrize("token", [None, "", "secre", "secret ", "Secret", "sécret", "\ud800"])
def test_a_wrong_token_is_refused(token):
    assert "token" in (CLOSED.refusal("example.org", "https://example.org", token) or "")


def test_the_right_token_lets_in_from_anywhere():
    assert CLOSED.refusal("10.0.0.1:8000", "http://10.0.0.1:8000", "secret") is None
    assert CLOSED.refusal("example.org", None, "secret") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "", "jetson.local"])
def test_where_others_can_reach_the_server_a_token_is_made(host):
    made, again = access_for(host, None).token, access_for(host, "").token
    assert made is not None
    assert made != again
    assert len(made) >= 24
    assert access_for(host, "mine").token == "mine"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_on_this_machine_alone_none_is_needed(host):
    assert is_loopback(host)
    assert access_for(host, None).token is None
    assert access_for(host, "mine").token == "mine"
