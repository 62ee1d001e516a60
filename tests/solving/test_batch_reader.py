"""まとめて計算する: 長さが違っても、1 行ずつ計算したものと同じ。共通の先頭は 1 度だけ。"""

import pytest
import torch
from solving_helpers import random_model

from quiz.solving.batch_reader import BatchReader

SHARED = list(range(100, 140))
ROWS = [[*SHARED, *range(200, 200 + length)] for length in (1, 7, 30)]


@torch.inference_mode()
def test_rows_of_different_length(monkeypatch):
    """最後の列の logits は、1 行ずつのものと同じ。2 度目は、残りの列だけを計算する。"""
    model = random_model("llama")
    reader = BatchReader(model, ROWS)
    assert reader.prefix == SHARED
    widths = []
    original = model.forward

    def forward(input_ids, **options):
        widths.append(input_ids.shape[1])
        return original(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", forward)
    together = [reader.read(rows, 2) for rows in (ROWS, ROWS[:2])]
    assert widths == [40, 30, 7]
    for read in together:
        for row, logits in zip(ROWS, read.logits):
            expected = original(input_ids=torch.tensor([row])).logits[0, -2:]
            # 残りが 1 列だけの行では、その前の列は共通の先頭の中にある
            assert logits[-1].tolist() == pytest.approx(expected[-1].tolist(), abs=1e-3)
            if len(row) > len(SHARED) + 1:
                assert logits[0].tolist() == pytest.approx(expected[0].tolist(), abs=1e-3)
        assert read.mask.sum(1).tolist() == [len(row) for row in ROWS[: len(read.mask)]]
