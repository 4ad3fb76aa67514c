"""The same worker for Faust's own command: `faust -A tests.streamer.sample_app worker`."""

from streamer.app import create_app
from streamer.settings import Settings
from tests.streamer.sample_worker import Copy

app = create_app(Settings.load(), [Copy()])
