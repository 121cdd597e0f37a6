"""The benchmark's reference computes the same, and what is measured can be reported."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import full_size
import reconstruction
import reconstruction_report
from networks import TINY, build, count_flops, plain


def test_the_definition_gives_the_same_and_costs_more():
    model = build(TINY)
    definition = plain(model)
    model.depth_head.decoder.fuse()
    model.point_head.decoder.fuse()
    images = torch.rand(3, 3, 56, 70, generator=torch.Generator().manual_seed(0))
    outputs, expected = model(images), definition(images)
    for name, tensor in expected.items():
        assert bool(tensor.isfinite().all()), name
        torch.testing.assert_close(outputs[name], tensor, rtol=1e-4, atol=1e-5)
    ours, theirs = (count_flops(m, 3, (56, 70)) for m in (model, definition))
    assert 0.9 < ours / theirs < 1


@pytest.mark.slow
def test_a_tiny_run_is_measured_and_reported(tmp_path, monkeypatch):
    options = argparse.Namespace(tiny=True, repeats=2, compile=False)
    monkeypatch.setattr(reconstruction, "matmul_rate", lambda device, dtype: 100.0)
    device = torch.device("cpu")
    times = reconstruction.measure_times(options, device, reconstruction.MODES)
    assert [row["mode"] for row in times[::2]] == list(reconstruction.MODES)
    assert all(len(row["ours"]) == 2 and len(row["matmul"]) == 5 for row in times)
    assert max(times[0]["errors"].values()) < 1e-5
    assert 1e-4 < times[2]["errors"]["depth"] < times[4]["errors"]["depth"] < 0.05
    memory = {"ours": {2: 1e6, 8: 4e6, 32: 16e6}, "definition": {2: 2e6, 8: 8e6, 32: 32e6}}
    assert reconstruction.slope(memory["ours"]) == pytest.approx(5e5)
    record = {"date": "2000-01-01", "command": "c", "hardware": "h", "device": "cuda"}
    record |= {"network": "tiny", "compiled": False, "times": times, "memory": memory}
    record["emulated_bfloat16"] = None
    record |= {"growth": {name: reconstruction.slope(grown) for name, grown in memory.items()}}
    record |= full_size.measure_full_size(device, tiny=True)
    paths = reconstruction_report.write(record, tmp_path)
    assert [path.suffix for path in paths] == [".json", ".md", ".png"]
    assert json.loads(paths[0].read_text())["growth"] == record["growth"]
    text = paths[1].read_text()
    assert "Ours over keeping all layers: 0.50." in text
    for title in ("Time", "Rounding", "Memory", "VGGT-1B", "Paper's size: language"):
        assert f"## {title}" in text


def test_official_figures_are_scaled_by_the_matrix_product():
    row = {"size": (224, 224), "mode": "float32", "ours": [4.95], "definition": [5.0]}
    row |= {"matmul": [72.0], "flops": 7e11, "definition_flops": 7.2e11}
    row |= {"outside_products": 0.99}
    record = {"times": [row], "device": "cpu", "emulated_bfloat16": None}
    table = reconstruction_report.times_table(record)
    assert "| 0.50 |" in table  # as fast on a machine of half the rate
    # 700 GFLOP at 144 a second take 4.86 s; 0.99 s are a tenth of 9.9 s
    assert table.splitlines()[4].endswith("| 0.98 | 0.10 |")


@pytest.mark.parametrize(("half", "emulated"), [(90.0, None), (2.0, 2.0)])
def test_bfloat16_that_the_processor_emulates_is_told_by_its_least_time(
    half, emulated, monkeypatch
):
    rates = {torch.float32: 50.0, torch.bfloat16: half}
    monkeypatch.setattr(reconstruction, "matmul_rate", lambda device, dtype: rates[dtype])
    rate = reconstruction.emulated_rate(torch.device("cpu"))
    assert rate == emulated
    record = {"times": [{"flops": 7e11}], "emulated_bfloat16": rate}
    note = reconstruction_report.emulation_note(record)
    assert ("at least 350 s" in note) == (emulated is not None)
