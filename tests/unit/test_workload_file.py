"""Workload files: they survive the disk; broken, foreign and future ones are sentences."""

import json

import pytest

from frameroof.workload import file
from frameroof.workload.tensors import tensor_of, tensor_text


def test_round_trip(tiny, tmp_path):
    path = file.save(tiny, tmp_path / "tiny.workload.json")
    again = file.load(path)
    assert again.stages == tiny.stages
    assert again.params == tiny.params
    assert file.dumps(again) == path.read_bytes()


def test_nothing_is_overwritten_unasked(tiny, tmp_path):
    path = tmp_path / "x.workload.json"
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists; --force"):
        file.save(tiny, path)
    assert path.read_text() == "mine"
    file.save(tiny, path, force=True)
    assert file.load(path).name == "tiny"


def broken(tiny, change):
    data = json.loads(file.dumps(tiny))
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(version=99), "version 99.*update frameroof"),
        (lambda d: d.update(grammar=2), "grammar 2.*update frameroof"),
        (lambda d: d.update(format="onnx"), "format is 'onnx'"),
        (
            lambda d: d["stages"][0].update(ops=[{"path": "a", "kind": "magic", "name": "b"}]),
            "unknown kind 'magic'",
        ),
        (lambda d: d["stages"][0].update(tensors=["bf17[2]"]), "is not a tensor"),
        (lambda d: d["stages"][0].update(repeat="steps/2"), "not of the grammar"),
        (lambda d: d["stages"][0]["ops"][0].update(reads=[10**6]), "broken workload"),
        (
            lambda d: d["stages"][0]["ops"][0].update(region=-1),
            r">= 0 - at `\$.stages\[0\].ops\[0\].region`",
        ),
        (lambda d: d["stages"][0]["ops"][0].update(attrs={"unused": "no"}), "unused is true or false, not 'no'"),
        (lambda d: d["stages"][0].update(surprise=1), "surprise"),
        (lambda d: d["stages"][0].update(let={}), "uses '.*', which nothing binds"),
        (lambda d: d["stages"][0].update(repeat="miles"), "repeat uses 'miles', which nothing binds"),
        (lambda d: d["stages"][0].update(held=[[9999, 1, 1]]), "a row that is not there"),
        (lambda d: d.pop("stages") and d.update(stages=3), "broken workload"),
    ],
)
def test_broken_files_are_sentences(tiny, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        file.loads(broken(tiny, change))


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("w:bf16[min(32,b*s),64]=", 64 * 6),
        ("bf16[b,2*min(b*b,min(4*s,s-1))+1,7]+", 2 * 5 * 7),
        ("fp32[]~", 1),
        ("int64[b,s]", 6),
    ],
)
def test_a_tensor_is_the_one_that_its_text_was_written_from(text, elements):
    read = tensor_of(text)
    assert read.elements({"b": 2, "s": 3}) == elements
    assert tensor_of(tensor_text(read)) == read


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\x00\xff", b"not json", b'{"a":1}'])
def test_other_files_are_sentences(data):
    with pytest.raises(ValueError, match=r"is not a workload file|broken"):
        file.loads(data)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        file.load(tmp_path / "none.workload.json")


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"height": 100}, "height=100 is not admissible; it must be a multiple of 8, such as 96 or 104"),
        ({"height": 8}, "too small; the smallest is 24"),
        ({"batch": 0}, "too small"),
        ({"batch": -1}, "too small"),
        ({"guidance": 3}, "largest is 2"),
        ({"color": 3}, "no size 'color'; it has: batch, height"),
        ({"batch": 1.5}, "must be a whole number"),
        ({"batch": True}, "must be a whole number"),
    ],
)
def test_inadmissible_sizes_are_sentences(tiny, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny.sizes(sizes)
