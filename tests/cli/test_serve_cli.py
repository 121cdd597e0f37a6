"""``vidllm serve``: listens before it says so, ends well, and refuses before it loads a model."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from vidllm.cli import main


def test_it_serves_the_default_model_until_interrupted():
    command = [sys.executable, "-m", "vidllm", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            told = json.loads(server.stdout.readline())
            with urllib.request.urlopen(f"{told['url']}/health") as reply:
                health = json.load(reply)
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0
    assert (health["status"], health["model"], health["trained"]) == ("ok", "tiny", True)
    assert (told["model"], told["trained"]) == ("tiny", True)


@pytest.fixture
def no_model(monkeypatch):
    def load(self):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("vidllm.cli.options.Common.load", load)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--port", "70000"], "--port must be within 0 and 65535, got 70000"),
        (["--max-scenes", "0"], "must be at least 1"),
        (["--max-megabytes", "-1"], "must be at least 1"),
    ],
)
def test_wrong_options_are_refused(capsys, options, told):
    assert main(["serve", *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_an_address_that_cannot_be_had_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_missing_libraries_are_named(capsys, monkeypatch):
    monkeypatch.setattr("vidllm.cli.serve.find_spec", lambda name: None)
    assert main(["serve", "--port", "0"]) == 1
    assert "pip install 'vidllm[serve]'" in capsys.readouterr().err
