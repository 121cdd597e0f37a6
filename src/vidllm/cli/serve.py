"""``serve``: the model over HTTP."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from vidllm.cli.options import Common
from vidllm.types import UsageError, VidLLMError


@dataclass(frozen=True, kw_only=True)
class Serve(Common):
    """Answer over HTTP, as OpenAI's clients ask; also boxes, descriptions and files of scenes."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is reached from other machines, and there is no password."""
    port: int = 8000
    """0 takes any that is free."""
    max_scenes: int = 8
    """Encoded videos that are kept in memory."""
    max_megabytes: int = 512
    """Longest request."""

    def run(self) -> None:
        if self.max_scenes < 1 or self.max_megabytes < 1:
            raise UsageError("--max-scenes and --max-megabytes must be at least 1")
        if not 0 <= self.port < 2**16:
            raise UsageError(f"--port must be within 0 and 65535, got {self.port}")
        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise VidLLMError("serve needs FastAPI and uvicorn: pip install 'vidllm[serve]'")
        with self._listen() as listening:
            pipeline = self.load()
            import uvicorn

            from vidllm.serve.api import create_app
            from vidllm.serve.engine import Engine

            engine = Engine(
                pipeline,
                max_scenes=self.max_scenes,
                num_frames=self.num_frames,
                seed=self.seed,
            )
            app = create_app(engine, max_bytes=self.max_megabytes * 2**20)
            host, port = listening.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            record = {"url": url, "model": pipeline.name, "trained": bool(pipeline.trained)}
            self.emit(record, f"{pipeline.name} listens at {url} (Ctrl-C ends)")
            config = uvicorn.Config(app, log_level="warning")
            with suppress(KeyboardInterrupt):  # which uvicorn raises again when it has ended
                uvicorn.Server(config).run(sockets=[listening])

    def _listen(self) -> socket.socket:
        """Before a model is loaded for nothing."""
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            reason = error.strerror or error
            raise VidLLMError(f"cannot listen at {self.host}:{self.port}: {reason}") from error
