"""The ``vidllm`` command.

Each verb is a dataclass: its fields are the options (their docstrings the help), ``run`` does the
work and imports what it needs, so ``--help`` is instant. Results go to stdout, everything else to
stderr; exit code 2 means the request was wrong, 1 that it failed.
"""

import sys
from typing import Annotated

import tyro

from vidllm.cli.convert import Convert
from vidllm.cli.data import Data
from vidllm.cli.demo import Demo
from vidllm.cli.eval import Eval
from vidllm.cli.language import Ask, Chat, Describe, Ground
from vidllm.cli.model import Doctor, Info
from vidllm.cli.options import console_warnings
from vidllm.cli.reconstruct import Reconstruct
from vidllm.cli.rooms import Rooms
from vidllm.cli.serve import Serve
from vidllm.cli.train import Train
from vidllm.types import VidLLMError

Verb = (
    Annotated[Ask, tyro.conf.subcommand("ask")]
    | Annotated[Describe, tyro.conf.subcommand("describe")]
    | Annotated[Ground, tyro.conf.subcommand("ground")]
    | Annotated[Chat, tyro.conf.subcommand("chat")]
    | Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Rooms, tyro.conf.subcommand("rooms")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Eval, tyro.conf.subcommand("eval")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
)


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn errors into one line and an exit code."""
    try:
        verb = tyro.cli(
            Verb,
            prog="vidllm",
            description="Plain video in; the scene in metres and language about it out.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        with console_warnings():
            return verb.run() or 0
    except VidLLMError as error:
        print(f"vidllm: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vidllm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
