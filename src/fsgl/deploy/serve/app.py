"""The web application: the page, ``POST /predict``, ``POST /why``, ``GET /health``.

It is for the person at this machine. Uploads are bounded before they are read and stay in memory; a request must name
the host that is served (another site's page cannot reach it under a name of its own), and the page loads nothing from
anywhere else.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fsgl.data.images.image_files import BadImage, rgb_of, scale_alone
from fsgl.data.images.pixels import view
from fsgl.data.stream.transforms import normalise
from fsgl.deploy.predict import predict_views
from fsgl.deploy.serve.neighbours import Index, features_of
from fsgl.evaluation.metrics import shot_groups
from fsgl.evaluation.posthoc import probabilities
from fsgl.report import web
from fsgl.report.why import attention, picture
from fsgl.runs.prediction_sets import PredictionSets
from fsgl.runs.saved import TrainedModel

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = 20 * 2**20  # of one image; a request holds one
TOP = 5
NEAREST = 6
WHY_SECONDS = 20.0  # that somebody waits for where the network looked
WHY_SIDE = 224  # pixels of that picture


def make_app(
    trained: TrainedModel, name: str, index: Index | None, hosts: list[str], sets: PredictionSets | None = None
) -> Starlette:
    """The application. name: of the run, for the page.  index: of training images, or None.  hosts: it answers to.
    sets: of classes, to be answered with, too."""
    answering = _Answering(trained, index, sets)
    one_at_a_time = anyio.CapacityLimiter(1)

    async def show(request: Request) -> Response:
        policy = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        policy += "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        content = web.render("serve.html", name=name, classes=len(trained.class_names), nearest=index is not None)
        return HTMLResponse(content, headers=headers)

    async def predict(request: Request) -> Response:
        content = await _body(request)
        return JSONResponse(await run_in_threadpool(answering, content))

    async def why(request: Request) -> Response:
        content, wanted = await _body(request), request.query_params.get("class")
        try:
            with anyio.fail_after(WHY_SECONDS):
                return JSONResponse(await anyio.to_thread.run_sync(
                    answering.why, content, wanted, abandon_on_cancel=True, limiter=one_at_a_time
                ))  # fmt: skip
        except TimeoutError:
            raise HTTPException(503, f"where it looked is not known after {WHY_SECONDS:g} seconds") from None

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "run": name, "classes": len(trained.class_names)})

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    routes = [Route("/", show), Route("/predict", predict, methods=["POST"]), Route("/health", health)]
    routes.append(Route("/why", why, methods=["POST"]))
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={HTTPException: refused},
    )


async def _body(request: Request) -> bytes:
    """The request's body, never more than MOST_BYTES of it. Raises HTTPException."""
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        # A page of another site can send a form without asking; it cannot send these.
        raise HTTPException(415, "send the image itself, as image/... or application/octet-stream")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"an image of more than {MOST_BYTES // 2**20} MB is not taken")
    return bytes(content)


class _Answering:
    def __init__(self, trained: TrainedModel, index: Index | None, sets: PredictionSets | None) -> None:
        self._trained, self._index, self._sets = trained, index, sets
        self._turn = threading.Lock()
        boundaries = trained.experiment.evaluation
        groups = shot_groups(trained.class_counts, many=boundaries.many, few=boundaries.few)
        self._group = {k: name for name, mask in groups.items() for k in np.flatnonzero(mask).tolist()}

    def __call__(self, content: bytes) -> dict[str, Any]:
        """What the network says of an image file. Raises HTTPException for what is none."""
        trained = self._trained
        views, notes = self._views(content)
        logits = predict_views(trained, views)
        shares = probabilities(logits, trained.temperature)[0]
        best = np.argsort(-shares, kind="stable")[:TOP].tolist()
        answer: dict[str, Any] = {
            "predictions": [{**self._class(k), "probability": float(shares[k])} for k in best],
            "calibrated": trained.temperature != 1,
            "notes": notes,
            "nearest": [],
            "set": None,
        }
        if self._sets is not None:
            members = np.flatnonzero(self._sets.members(logits)[0])
            members = members[np.argsort(-shares[members], kind="stable")]
            answer["set"] = {
                "coverage": self._sets.thresholds.coverage,
                "by_class": self._sets.thresholds.by_class,
                "classes": [trained.class_names[k] for k in members],
            }
        if self._index is not None:
            answer["nearest"] = [
                {**self._class(int(self._index.labels[row])), "cosine": cosine, "image": self._index.thumbnails[row]}
                for row, cosine in self._index.nearest(features_of(trained, views)[0], NEAREST)
            ]
        return answer

    def why(self, content: bytes, wanted: str | None) -> dict[str, Any]:
        """Where the network looked for a class; None is the likeliest. Raises HTTPException."""
        # A thread cannot be stopped: one whose answer nobody waits for any longer keeps its turn until it ends, so that
        # such threads do not pile up.
        if not self._turn.acquire(timeout=WHY_SECONDS):
            raise HTTPException(503, "where the network looked is still being found for another image")
        try:
            return self._why(content, wanted)
        finally:
            self._turn.release()

    def _why(self, content: bytes, wanted: str | None) -> dict[str, Any]:
        trained = self._trained
        if wanted is not None and wanted not in trained.class_names:
            raise HTTPException(400, f"there is no class '{wanted}'")
        views, _ = self._views(content)
        chosen = int(predict_views(trained, views)[0].argmax()) if wanted is None else trained.class_names.index(wanted)
        shown = normalise(np.stack(views), trained.mean, trained.std)
        where = attention(trained, shown, np.array([chosen]))
        looked = None if where is None else picture(shown[0], where[0], trained.mean, trained.std, WHY_SIDE)
        return {"class": trained.class_names[chosen], "looked": looked}

    def _views(self, content: bytes) -> tuple[list[np.ndarray], list[str]]:
        """The image as the network is shown it, and what should be known of that. Raises HTTPException."""
        try:
            if not content:
                raise BadImage("the upload", "empty")
            image, notes = self._opened(io.BytesIO(content))
        except BadImage as error:
            raise HTTPException(400, error.reason) from None
        return [view(image, self._trained.shape)], notes

    def _opened(self, file: io.BytesIO) -> tuple[Image, list[str]]:
        """The image, and what should be known of how it is shown. Raises BadImage."""
        enough, scale, notes = self._trained.shape.enough, self._trained.scale, []
        if scale is None and (scale := scale_alone(file)) is not None:
            notes = [f"more than 8 bits a channel: white at {scale.white:,g}, by this image alone (--white-level)"]
        return rgb_of(file, "the upload", enough, scale), notes

    def _class(self, k: int) -> dict[str, Any]:
        counts, names = self._trained.class_counts, self._trained.class_names
        return {"class": names[k], "training_images": int(counts[k]), "group": self._group[k]}
