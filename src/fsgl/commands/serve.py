"""``fsgl serve``: a local page on which a trained network is asked about images."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING, Any, cast

from fsgl.commands.arguments import FORM, add_run, add_sets, add_weights, add_white_level, within
from fsgl.commands.predict import sets_of
from fsgl.errors import UserError

if TYPE_CHECKING:
    from fsgl.deploy.serve.neighbours import Index
    from fsgl.runs.saved import TrainedModel

DESCRIPTION = """\
A page on this machine: drop, paste or choose images, and see the most probable classes, how many training
images each had, and the nearest training images. POST /predict with the image as the body answers in JSON. Nothing is
written to disk."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def add(commands: Any) -> None:
    """The options."""
    command = commands.add_parser(
        "serve", help="a local page that answers for images", description=DESCRIPTION, formatter_class=FORM,
        allow_abbrev=False,
    )  # fmt: skip
    add_run(command)
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine only)")
    command.add_argument("--port", type=int, default=8000, metavar="N", help="port (8000)")
    command.add_argument("--no-nearest", action="store_true", help="do not look for the nearest training images")
    add_sets(command)
    add_white_level(command, "as the run was trained")
    add_weights(command)


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Serve until interrupted."""
    from fsgl.runs.saved import at_white_level, load_model

    try:
        import uvicorn

        from fsgl.deploy.serve.app import make_app
    except ImportError as error:
        raise UserError(f"the page needs {error.name}: pip install 'fsgl[serve]'") from None
    port = within("--port", options.port, 1, 65535)
    trained = at_white_level(load_model(options.run, options.weights), options.white_level)
    sets = sets_of(options)
    for note in sets.notes if sets is not None else ():
        print(f"note: {note}")
    listening = _listen(options.host, port)
    index = None if options.no_nearest else _index(trained)
    app = make_app(trained, options.run.resolve().name, index, [*LOOPBACK, options.host], sets)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{shown}:{port}  (Ctrl-C ends it)", flush=True)
    with listening:
        uvicorn.Server(uvicorn.Config(app, log_level="warning", limit_concurrency=32)).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{host}, port {port}: cannot be listened on ({reason}); --port takes another number") from None


def _index(trained: TrainedModel) -> Index | None:
    from fsgl.data.images.sources import Images
    from fsgl.data.load import load_data
    from fsgl.deploy.serve.neighbours import build_index

    try:
        train = cast(Images, load_data(trained.experiment.data).train)
    except UserError as error:
        print(f"note: without nearest training images, as these cannot be had ({error})")
        return None
    print(f"looking at {len(train):,} training images ...", flush=True)
    return build_index(trained, train)
