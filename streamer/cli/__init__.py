"""The command `streamer`: one module per command or small group of them.

Modules import what is heavy (torch, Kafka clients, settings) inside their functions: `streamer --help` takes
0.2 s and not 5.
"""

from __future__ import annotations

import signal

import rich_click as click

from streamer import __version__
from streamer.cli.console import CommandGroup
from streamer.cli.convert import convert
from streamer.cli.dead_letters import dead_letters
from streamer.cli.demo import demo
from streamer.cli.doctor import doctor
from streamer.cli.lag import lag
from streamer.cli.model import evaluate, train
from streamer.cli.publish import publish
from streamer.cli.replay import replay
from streamer.cli.schemas import schemas
from streamer.cli.simulate import simulate
from streamer.cli.subscribe import subscribe
from streamer.cli.topics import topics
from streamer.cli.worker import worker

_PANELS = {
    "Try it": ["demo", "simulate", "doctor"],
    "Model": ["convert", "train", "evaluate", "replay"],
    "Run": ["topics", "worker", "publish", "subscribe"],
    "Operate": ["lag", "dead-letters", "schemas"],
}


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.rich_config(
    help_config={
        "text_markup": "rich",
        "text_paragraph_linebreaks": "\n\n",
        "command_groups": {
            "streamer": [{"name": name, "commands": names} for name, names in _PANELS.items()]
        },
    }
)
@click.version_option(__version__, prog_name="streamer")
def cli() -> None:
    """Retweet prediction as it happens: tweets in on Kafka, a calibrated probability per follower out.

    Start with [cyan]streamer demo[/]: it needs nothing installed.
    """


for _command in (
    convert,
    dead_letters,
    demo,
    doctor,
    evaluate,
    lag,
    publish,
    replay,
    schemas,
    simulate,
    subscribe,
    topics,
    train,
    worker,
):
    cli.add_command(_command)


def main() -> None:
    """The console entry point. SIGTERM is as Ctrl-C: what a command has in temporary folders goes with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cli(prog_name="streamer")
