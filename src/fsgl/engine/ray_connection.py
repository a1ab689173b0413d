"""A connection to a Ray cluster, for what runs many trainings at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from fsgl.errors import UserError, first_line


@contextlib.contextmanager
def ray_connection(address: str) -> Iterator[Any]:
    """Within: the module ``ray``, connected.

    address: of the cluster, "auto" for the one this machine is part of; "local" starts one here. Raises UserError where
    Ray or the cluster is not to be had.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'fsgl[ray]'") from None
    try:
        ray.init(
            address=None if address == "local" else address, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, configure_logging=False,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: {first_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
