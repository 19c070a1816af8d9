"""The report's definitions on a made clock: every figure is worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from frameroof.stream import preset
from frameroof.stream.metrics import Meter

MS = 1_000_000
C = preset("tiny")


class Clock:
    """Nanoseconds that only pass when something is said to take them."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, ms: int) -> None:
        self.now += ms * MS


class Made:
    """A session whose blocks, decodes and switches take what a list says."""

    def __init__(self, clock: Clock, blocks: list[int], decode: int = 0, encode: int = 0) -> None:
        self.clock, self.blocks, self.ms, self.encode = clock, iter(blocks), decode, encode

    def generate_block(self) -> SimpleNamespace:
        self.clock.pass_ms(next(self.blocks))
        return SimpleNamespace()

    def decode(self, block: object) -> None:
        self.clock.pass_ms(self.ms)

    def switch(self, prompt: str) -> None:
        self.clock.pass_ms(self.encode)


def measured(blocks: list[int], switches: dict[int, str] | None = None, decode: int = 0, encode: int = 0) -> Meter:
    clock = Clock()
    meter = Meter(C, clock=clock)
    with meter.apart("capture"):
        clock.pass_ms(700)

    def prepare() -> Made:
        clock.pass_ms(50)
        return Made(clock, blocks, decode, encode)

    meter.run(prepare, len(blocks), switches, decode=decode > 0)
    return meter


def test_the_report_s_own_example() -> None:
    """Block 53 takes 519.30 ms and block 54 takes 881.24 ms: the switch is 361.94 ms; a frame 173.1 ms."""
    meter = measured([100] * 4 + [519] * 3 + [881, 519], {7: "x"})
    report = meter.report()
    assert report.switch_s == pytest.approx((0.362,))
    assert report.inter_frame_s == pytest.approx(0.519 / 3)
    assert report.blocks == 4
    assert report.apart_s == {"capture": 0.7}
    assert report.fps_decoded is None
    assert report.real_time_factor is None


def test_rates_with_and_without_decoding() -> None:
    report = measured([10] * 4 + [400, 500, 600], decode=250).report()
    assert report.fps_generate == pytest.approx(36 / 1.5)  # 12 frames of video a block
    assert report.fps_decoded == pytest.approx(36 / 2.25)
    assert report.real_time_factor == pytest.approx(16 / 16)
    assert report.jitter_s == pytest.approx(0.1)
    assert report.block_p50_s == pytest.approx(0.5)
    assert report.block_p90_s == pytest.approx(0.58)  # linear between the second and the third of three
    assert report.first_frame_s == pytest.approx(0.050 + 0.010 + 0.250)


def test_visible_counts_the_encoder_and_the_decoder_the_switch_does_not() -> None:
    report = measured([10] * 4 + [100, 160, 100], {5: "x"}, decode=40, encode=7).report()
    assert report.visible_s == pytest.approx((0.007 + 0.160 + 0.040,))
    assert report.switch_s == pytest.approx((0.060,))


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(ValueError, match="the window is full after 4, and 3 were run"):
        measured([1, 1, 1]).report()
    with pytest.raises(ValueError, match="A switch at block 0 cannot be timed"):
        measured([1, 1], {0: "x"})
    assert measured([1] * 5).report().jitter_s is None


def test_peak_memory_is_what_the_device_counts() -> None:
    meter = measured([1] * 5)
    assert meter.report().peak_bytes is None
    meter.peak = lambda: 123
    assert meter.report().peak_bytes == 123


def test_a_real_stream_is_timed() -> None:
    from stream_made import engine

    meter = Meter(C)
    session = meter.run(lambda: engine("ring").prepare("a cat"), 6, {5: "a fox"})
    report = meter.report()
    assert session.number == 6
    assert [row.switched for row in meter.rows] == [False] * 5 + [True]
    assert 0 < report.block_p50_s == pytest.approx(3 * report.inter_frame_s)
