"""The next batch, made in the background while the last one is learned from, so that no step waits for data."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from cadenza.dataset import Batch, WindowStream

State = list[tuple[int, int, int]]


class Ahead:
    """A WindowStream whose state is that of the batches given out, not of those that are made already."""

    def __init__(self, stream: WindowStream) -> None:
        self.stream = stream
        self.maker = ThreadPoolExecutor(1, "batches")
        self._begin()

    def _begin(self) -> None:
        self._state, self.epochs = self.stream.state(), self.stream.epochs
        self.coming: Future[tuple[Batch, State, float]] = self.maker.submit(self._make)

    def _make(self) -> tuple[Batch, State, float]:
        return self.stream.next_batch(), self.stream.state(), self.stream.epochs

    def next_batch(self) -> Batch:
        """See WindowStream."""
        batch, self._state, self.epochs = self.coming.result()
        self.coming = self.maker.submit(self._make)
        return batch

    def state(self) -> State:
        """See WindowStream."""
        return self._state

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """See WindowStream."""
        wait([self.coming])  # two may not use the stream at once
        self.stream.restore(state)
        self._begin()

    def close(self) -> None:
        """Make no more."""
        self.maker.shutdown(cancel_futures=True)
