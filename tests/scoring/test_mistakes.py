"""間違いの傾向の表が、数え直したものと同じ。"""

import random
import re
from collections import Counter

import pytest
from conftest import step
from samples import record, record_of, wilson_roots, write_result

from quiz.prompt import Question, read_choice


def test_errors_report(tmp_path):
    """番号の偏り、確信度と正解率、自信のある間違いの数が、数え直したものと同じ。"""
    rng, records = random.Random(1), []
    for i in range(200):
        probs = [
            rng.random() ** 3 * 0.01 for _ in range(4)
        ]  # 合計は 1 よりずっと小さい (学習前のモデルはこうなる)
        k, label = probs.index(max(probs)), rng.randrange(4)
        records.append(
            {
                **record(
                    k == label,
                    probs=probs,
                    output="?: い" if i < 20 else "7: い" if i < 30 else f"{k}: い",
                    label=label,
                    text=f"第{i}問?",
                )
            }
        )
        records[-1]["hit"] &= i >= 30
    write_result(tmp_path / "result.json", records)
    out = step("analysis", "--errors", cwd=tmp_path).stdout
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in out.splitlines()
        if line.startswith("|")
    ]
    answered, right = (
        Counter(r["out_str"] for r in records),
        Counter(r["correct_answer"][0] for r in records),
    )
    for k in "0123":
        rate = sum(r["hit"] for r in records if r["correct_answer"][0] == k) / right[k]
        assert [k, f"{answered[k] / 2:.1f} %", f"{right[k] / 2:.1f} %", f"{rate:.2f}"] in rows
    assert ["読み取れない", "10.0 %", "-", "-"] in rows
    assert ["7", "5.0 %", "0.0 %", "-"] in rows
    confidence = [max(r["choice_probs"]) / sum(r["choice_probs"]) for r in records]
    right = [
        r["choice_probs"].index(max(r["choice_probs"])) == int(r["correct_answer"][0])
        for r in records
    ]
    for low in range(2, 10):
        inside = [(c, h) for c, h in zip(confidence, right) if low <= c * 10 < low + 1]
        if inside:
            n, k = len(inside), sum(h for _, h in inside)
            interval = "{:.3f}-{:.3f}".format(*wilson_roots(k, n))
            assert [
                f"{low / 10}-{(low + 1) / 10}",
                str(n),
                f"{sum(c for c, _ in inside) / n:.3f}",
                f"{k / n:.3f}",
                interval,
            ] in rows
    gaps = brier = 0
    for low in range(10):
        inside = [(c, h) for c, h in zip(confidence, right) if low <= c * 10 < low + 1]
        gaps += abs(sum(c - h for c, h in inside)) / 200
    for r in records:
        for k, p in enumerate(r["choice_probs"]):
            correct = k == int(r["correct_answer"][0])
            brier += (p / sum(r["choice_probs"]) - correct) ** 2 / 200
    assert f"ECE {gaps:.3f}: " in out and f"Brier {brier:.3f}: " in out
    assert "どの番号も同じ確率なら 0.750" in out and gaps > 0.01
    misses = sorted(
        ((c, i) for i, (c, h) in enumerate(zip(confidence, right)) if not h), reverse=True
    )[:10]
    assert re.findall(r"^- (\S+) 第(\d+)問\? → .: い \(正解 \d: .\)$", out, re.M) == [
        (f"{c:.3f}", str(i)) for c, i in misses
    ]


def test_number_and_text(tmp_path):
    """番号と文字の食い違いを、両方向に数える。"""
    records = [
        record(True, output="2: は"),
        record(False, output="1: ロ"),
        record(False, output="0: に"),
        record(True, output="2: ロ"),
        record(False, output="1: 知らない"),
        record(False, output="ロ"),
    ]
    write_result(tmp_path / "result.json", records)
    out = step("analysis", "--errors", cwd=tmp_path).stdout
    assert "番号だけが正解 1、文字だけが正解 1、どちらも不正解 1" in out
    assert "番号と文字: 一致 20.0 % (番号の読み取れた 5 問のうち 1 問)。食い違い 3 問: " in out
    assert read_choice("2: ク: リ") == "ク: リ" and read_choice("クリオネ") == ""


@pytest.mark.parametrize(
    "output, agreement",
    [
        ("0: A", "一致 100.0 % (番号の読み取れた 1 問のうち 1 問)。食い違い 0 問"),  # A は 2 つある
        ("2:ロ", "一致 100.0 % (番号の読み取れた 1 問のうち 1 問)。食い違い 0 問"),
        ("２：ロ", "一致 100.0 % (番号の読み取れた 1 問のうち 1 問)。食い違い 0 問"),
        ("０：ロ", "一致 0.0 % (番号の読み取れた 1 問のうち 0 問)。食い違い 1 問"),
        ("答え: ロ", "一致 - (番号の読み取れた 0 問のうち 0 問)。食い違い 0 問"),
    ],
)
def test_text_of_the_answer(output, agreement, tmp_path):
    """文字は、番号を読むのと同じゆるさで読む。番号の読み取れない回答は、食い違いではない。"""
    question = Question("問い?", ("A", "A", "ロ"), 2)
    write_result(tmp_path / "result.json", [record_of(question, output, [0.1, 0.1, 0.8])])
    assert agreement in step("analysis", "--errors", cwd=tmp_path).stdout
