from __future__ import annotations

import gc

import pytest

from fsgl.collector import without_collector
from fsgl.data import load
from fsgl.data.images.sources import Source
from fsgl.data.load import DataSpec
from fsgl.data.readers.digits import load_digits


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_put_back_as_it_was(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), without_collector(), without_collector():  # noqa: PT012
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is collecting
    finally:
        gc.enable()


def test_data_are_read_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    during = []

    def read(spec: DataSpec) -> Source:
        during.append(gc.isenabled())
        return load_digits()

    monkeypatch.setitem(load._READERS, "digits", read)
    load.load_data(DataSpec("digits"))
    assert during == [False]
    assert gc.isenabled()
