"""学習が何を教えたかの 2 つの文: 数しだいで、言い方が決まる。"""

import json

import pytest
from conftest import read, step
from samples import CHOICES, record_of, write_result

from quiz.prompt import Question


def scored(path, hits, adapter=None, **summary):
    """hits のとおりに答え、番号の確率も同じ結果。"""
    records = []
    for i, hit in enumerate(hits):
        q = Question(f"問い{i}?", CHOICES, i % 4)
        label = q.label if hit else (q.label + 1) % 4
        records.append(record_of(q, q.lines[label], [float(k == label) for k in range(4)]))
    write_result(path, records, model="m", adapter=adapter, quiz=["quiz.json"], **summary)


LOW = [1] * 25 + [0] * 75
SOME = [1] * 60 + [0] * 40
MOST = [1] * 95 + [0] * 5


@pytest.mark.parametrize(
    "number, shots, after, meaning, unknown",
    [
        (LOW, SOME, LOW, "当てずっぽう (0.25) と区別できません", "知識が消えたとは言えません"),
        (LOW, LOW, MOST, "番号で選ぶことも教えました", "増えたのが知識かは分かりません"),
        (LOW, MOST[::-1], MOST, "番号で選ぶことも教えました", "この問題の数では区別できません"),
        (SOME, MOST, SOME[::-1], "番号で選ぶことを教えたとは言え", "知識が消えたとは言えません"),
        (MOST, MOST, SOME, "学習前より下がりました", "知識が消えたとは言えません"),
    ],
)
def test_two_sentences(number, shots, after, meaning, unknown, tmp_path):
    """意味と、言えないことは、数しだい。当てずっぽうは 0.25。"""
    scored(tmp_path / "result-base.json", number)
    scored(tmp_path / "result-base-shots4.json", shots, shots=4)
    scored(tmp_path / "result.json", after, "./out")
    lines = step("analysis", "--taught", cwd=tmp_path).stdout.splitlines()
    said = [line for line in lines if line.startswith(("意味: ", "言えないこと: "))]
    assert len(said) == 2 and meaning in said[0] and unknown in said[1]
    if after != LOW:
        gain = (sum(after) - sum(number)) / 100
        assert f"({sum(number) / 100:.3f}) の差は {gain:+.3f} (" in said[0]
    gain = (sum(after) - sum(shots)) / 100
    assert f"「学習前 例つきの生成」({sum(shots) / 100:.3f}) の差は {gain:+.3f} (" in said[1]


NONE = [0] * 100


@pytest.mark.parametrize(
    "after, without, meaning",
    [
        (
            NONE,
            [],
            "意味: 学習後 生成 は当てずっぽう (0.25) より低い (読み取れない回答が 0.0 %。",
        ),
        (
            MOST,
            ["choice_probs"],
            "意味: 学習が教えたのが書式だけか、番号で選ぶこともかは、分けられ",
        ),
        (NONE, ["choice_probs", "input"], "意味: 学習が教えたのが書式だけか"),
    ],
)
def test_what_cannot_be_said(after, without, meaning, tmp_path):
    """当てずっぽうより低いとき、番号の確率のないとき、選択肢の数も分からないとき。"""
    for name, hits, adapter in (("-base", LOW, None), ("", after, "./out")):
        path = tmp_path / f"result{name}.json"
        scored(path, hits, adapter)
        rows = read(path)
        for row in rows:
            for key in without:
                row.pop(key, None)
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert meaning in step("analysis", "--taught", cwd=tmp_path).stdout


def test_not_asked_what_was_known(tmp_path):
    """文字でも例つきでも聞いていなければ、学習前に知っていたことは分からないと言う。"""
    scored(tmp_path / "result-base.json", [1] * 60 + [0] * 40)
    scored(tmp_path / "result.json", [1] * 95 + [0] * 5, "./out")
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    assert "言えないこと: 知識が増えたか。学習前に、文字でも例つきでも聞いていません" in out
    assert "python run_quiz.py --base --by-text\n" in out
