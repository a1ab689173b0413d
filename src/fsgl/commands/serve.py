"""``fsgl serve``: a local page on which a trained network is asked about images."""

from __future__ import annotations

import argparse
import socket
from typing import cast

from fsgl.commands.numbers import within
from fsgl.data.images.sources import Images
from fsgl.data.load import load_data
from fsgl.deploy.serve.neighbours import Index, build_index
from fsgl.errors import UserError
from fsgl.runs.saved import Trained, load_model

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def run(options: argparse.Namespace, settings: list[str]) -> int:
    """Serve until interrupted."""
    try:
        import uvicorn

        from fsgl.deploy.serve.app import make_app
    except ImportError as error:
        raise UserError(f"the page needs {error.name}: pip install 'fsgl[serve]'") from None
    port = within("--port", options.port, 1, 65535)
    trained = load_model(options.run, options.weights)
    listening = _listen(options.host, port)
    index = None if options.no_nearest else _index(trained)
    app = make_app(trained, options.run.resolve().name, index, [*LOOPBACK, options.host])
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


def _index(trained: Trained) -> Index | None:
    try:
        train = cast(Images, load_data(trained.experiment.data).train)
    except UserError as error:
        print(f"note: without nearest training images, as these cannot be had ({error})")
        return None
    print(f"looking at {len(train):,} training images ...", flush=True)
    return build_index(trained, train)
