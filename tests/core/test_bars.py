"""Progress bars: how far they are after each call, and that nobody sees one who does not want it."""

from __future__ import annotations

from typing import Any

import pytest
import tqdm

from audiox_core.commands.bars import bar_of, download_bars


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The bars that are made, as they stand."""
    made: list[Any] = []

    class Bar:
        def __init__(self, desc: str, total: int, initial: int = 0, **options: Any) -> None:
            self.desc, self.total, self.n, self.options, self.closed = desc, total, initial, options, False
            made.append(self)

        def update(self, count: int) -> None:
            assert count >= 0 and not self.closed
            self.n += count

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    return made


def test_a_bar_stands_where_the_work_does(bars: list[Any]) -> None:
    with bar_of("sampling", True) as tell:
        assert tell is not None and not bars
        for done in (1, 1, 5, 9):
            tell(done, 9)
            assert (bars[0].desc, bars[0].n, bars[0].total) == ("sampling", done, 9)
    assert len(bars) == 1 and bars[0].closed


def test_a_download_has_a_bar_for_each_file_from_where_it_goes_on(bars: list[Any]) -> None:
    with download_bars(True) as tell:
        assert tell is not None
        tell("model.ckpt", 1000, 5000)
        assert (bars[0].desc, bars[0].n, bars[0].total) == ("download model.ckpt", 1000, 5000)
        tell("model.ckpt", 3000, 5000)
        tell("config.json", 0, 10)
        tell("config.json", 10, 10)
        tell("model.ckpt", 5000, 5000)
        assert [(bar.n, bar.total) for bar in bars] == [(5000, 5000), (10, 10)]
        assert bars[0].options == {"unit": "B", "unit_scale": True}
    assert all(bar.closed for bar in bars)


def test_bars_are_closed_by_an_error_and_nobody_sees_one_unasked(bars: list[Any]) -> None:
    def stopped(show: Any, *step: Any) -> None:
        with show as tell:
            tell(*step)
            raise KeyboardInterrupt

    for show, step in ((bar_of("sampling", True), (1, 2)), (download_bars(True), ("a", 1, 2))):
        with pytest.raises(KeyboardInterrupt):
            stopped(show, *step)
    assert len(bars) == 2 and all(bar.closed for bar in bars)
    with bar_of("sampling", False) as tell, download_bars(False) as other:
        assert tell is None and other is None
    assert len(bars) == 2
