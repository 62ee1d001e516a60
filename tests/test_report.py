"""チュートリアルの 1 行、間違いの一覧、読めない結果。"""

import json
import os
import random
import re
import sys
from collections import Counter

import pytest
from conftest import run, step, step_error
from samples import record, wilson_roots, write_result


def test_tutorial_line(tmp_path):
    """チュートリアルと同じ 1 行が出る。内訳は問題数、読み取れない回答、番号の確率、当てずっぽう。"""
    hits = [True] * 7 + [False] * 13
    records = [record(h) if h else record(False, "雑学", (0.7, 0.1, 0.1, 0.1), "") for h in hits]
    write_result(tmp_path / "result.json", records)
    lines = step("analysis", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "result.json" + " " * 49 + " : 0.35"
    assert lines[1].split() == ["20", "問", "読み取れない", "65.0", "%", "番号の確率", "0.35", "当てずっぽう", "0.25"]
    genres = step("analysis", "--genre", cwd=tmp_path).stdout
    assert "学問: 1.00 (7 問)" in genres and "雑学: 0.00 (13 問)" in genres


def test_likelihood_counts_the_right_label(tmp_path):
    """生成では書式を守れなくても、番号の確率が正しければ likelihood には数える。"""
    write_result(tmp_path / "r.json", [record(False, out_str=""), record(False, out_str="", probs=(0.9, 0, 0.1, 0)), record(True)])
    out = step("analysis", "r.json", cwd=tmp_path).stdout
    assert " : 0.3333" in out and "番号の確率 0.67" in out


def test_tutorial_era_file(tmp_path):
    """2024 年版の result.json (追加の項目なし、最後は elapsed_time だけ) も読める。"""
    old = [{k: v for k, v in record(i < 1).items() if k not in ("choice_probs", "seconds", "genre")} for i in range(4)]
    write_result(tmp_path / "result.json", old)
    out = step("analysis", cwd=tmp_path).stdout
    assert out.splitlines()[0].endswith(" : 0.25") and "番号の確率 -  当てずっぽう 0.25" in out


@pytest.mark.parametrize("text, where", [(None, "result*.json"), ("", "result.json:1"), ("[\n{", "result.json:2"),
                                         ("{}", "result.json:1"), ("[]", "result.json:1"), ('[{"a": 1}]', "result.json:1")])
def test_errors(tmp_path, text, where):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert where in step_error("analysis", cwd=tmp_path)


def test_errors_in_one_record(tmp_path):
    """1 件だけおかしいときは、その行を知らせる。出力のファイルは元のまま。"""
    (tmp_path / "page.html").write_text("前の結果")
    for change in ({"hit": None}, {"hit": "yes"}, {"choice_probs": []}, {"choice_probs": [1, "x"]}, {"choice_probs": [float("nan")] * 4},
                   {"correct_answer": "9: ロ"}, {"correct_answer": None}, {"prompt": 3}, {"seconds": "速い"}):
        text = json.dumps([record(True), {**record(True), **change}, {"elapsed_time": 1}], ensure_ascii=False, indent=1)
        (tmp_path / "result.json").write_text(text, encoding="utf-8")
        line = text[:text.index("{", text.index("{") + 1)].count("\n") + 1
        assert f"result.json:{line}: " in step_error("analysis", "--html", "page.html", cwd=tmp_path), change
    write_result(tmp_path / "result.json", [record(True)])
    before = (tmp_path / "result.json").read_bytes()
    # FILE を付け忘れると、次の引数の結果のファイルが FILE になる。
    assert ".html" in step_error("analysis", "--html", "result.json", cwd=tmp_path)
    assert ".png" in step_error("analysis", "--plot", "result.json", cwd=tmp_path)
    assert "none/page.html" in step_error("analysis", "--html", "none/page.html", cwd=tmp_path)
    assert "page.html/x.png" in step_error("analysis", "--plot", "page.html/x.png", cwd=tmp_path)
    beside = tmp_path / f"page.html.{os.getpid()}.tmp"
    beside.mkdir()  # 隣に書けないときも、元のファイルには触らない
    assert "page.html に書けません" in step_error("analysis", "--html", "page.html", cwd=tmp_path)
    beside.rmdir()
    assert (tmp_path / "result.json").read_bytes() == before and (tmp_path / "page.html").read_text() == "前の結果"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "result.json"]


def test_errors_report(tmp_path):
    """番号の偏り、確信度と正解率、自信のある間違いの数が、数え直したものと同じ。"""
    rng, records = random.Random(1), []
    for i in range(200):
        probs = [rng.random() ** 3 * 0.01 for _ in range(4)]  # 合計は 1 よりずっと小さい (学習前のモデルはこうなる)
        k, label = probs.index(max(probs)), rng.randrange(4)
        records.append({**record(k == label, probs=probs, out_str="" if i < 20 else "77" if i < 30 else str(k), label=label,
                                 text=f"第{i}問?"), "output": f"{k}: い"})
        records[-1]["hit"] &= i >= 30
    write_result(tmp_path / "result.json", records)
    out = step("analysis", "--errors", cwd=tmp_path).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    answered, right = Counter(r["out_str"] for r in records), Counter(r["correct_answer"][0] for r in records)
    for k in "0123":
        rate = sum(r["hit"] for r in records if r["correct_answer"][0] == k) / right[k]
        assert [k, f"{answered[k] / 2:.1f} %", f"{right[k] / 2:.1f} %", f"{rate:.2f}"] in rows
    assert ["読み取れない", "10.0 %", "-", "-"] in rows and ["ほかの番号", "5.0 %", "-", "-"] in rows
    confidence = [max(r["choice_probs"]) / sum(r["choice_probs"]) for r in records]
    right = [r["choice_probs"].index(max(r["choice_probs"])) == int(r["correct_answer"][0]) for r in records]
    for low in range(2, 10):
        inside = [(c, h) for c, h in zip(confidence, right) if low <= c * 10 < low + 1]
        if inside:
            n, k = len(inside), sum(h for _, h in inside)
            interval = "{:.3f}-{:.3f}".format(*wilson_roots(k, n))
            assert [f"{low / 10}-{(low + 1) / 10}", str(n), f"{sum(c for c, _ in inside) / n:.3f}", f"{k / n:.3f}", interval] in rows
    misses = sorted(((c, i) for i, (c, h) in enumerate(zip(confidence, right)) if not h), reverse=True)[:10]
    assert re.findall(r"^- (\S+) 第(\d+)問\? → \d: い \(正解 \d: .\)$", out, re.M) == [(f"{c:.3f}", str(i)) for c, i in misses]


def test_light_imports(tmp_path):
    """オプションがなければ、重いライブラリは読まない。"""
    write_result(tmp_path / "result.json", [record(True)])
    code = "import sys, analysis; sys.argv = ['analysis.py']; analysis.main(); print({'scipy', 'matplotlib'} & set(sys.modules))"
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.endswith("set()\n")
