"""手順5: 正解率の表示。"""

import json

import pytest
from conftest import run, run_error


def record(hit, genre="学問", probs=(0.1, 0.2, 0.6, 0.1), out_str="2", answer="2: ロ"):
    return {"ID": 0, "instruction": "問", "input": "0: い\n1: は\n2: ロ\n3: に\n\n\n", "prompt": "", "output": "2: ロ", "genre": genre,
            "correct_answer": answer, "out_str": out_str, "hit": hit, "choice_probs": list(probs), "seconds": 0.1}


def write(path, records):
    path.write_text(json.dumps([*records, {"elapsed_time": 1.5}], ensure_ascii=False), encoding="utf-8")


def test_tutorial_line(tmp_path):
    """チュートリアルと同じ 1 行が出る。内訳は問題数、読み取れない回答、番号の確率、当てずっぽう。"""
    hits = [True] * 7 + [False] * 13
    records = [record(h) if h else record(False, "雑学", (0.7, 0.1, 0.1, 0.1), "") for h in hits]
    write(tmp_path / "result.json", records)
    lines = run("analysis.py", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "result.json" + " " * 49 + " : 0.35"
    assert lines[1].split() == ["20", "問", "読み取れない", "65.0", "%", "番号の確率", "0.35", "当てずっぽう", "0.25"]
    genres = run("analysis.py", "--genre", cwd=tmp_path).stdout
    assert "学問: 1.00 (7 問)" in genres and "雑学: 0.00 (13 問)" in genres


def test_likelihood_counts_the_right_label(tmp_path):
    """生成では書式を守れなくても、番号の確率が正しければ likelihood には数える。"""
    write(tmp_path / "r.json", [record(False, out_str=""), record(False, out_str="", probs=(0.9, 0, 0.1, 0)), record(True)])
    out = run("analysis.py", "r.json", cwd=tmp_path).stdout
    assert " : 0.3333" in out and "番号の確率 0.67" in out


def test_tutorial_era_file(tmp_path):
    """2024 年版の result.json (追加の項目なし、最後は elapsed_time だけ) も読める。"""
    old = [{k: v for k, v in record(i < 1).items() if k not in ("choice_probs", "seconds", "genre")} for i in range(4)]
    write(tmp_path / "result.json", old)
    out = run("analysis.py", cwd=tmp_path).stdout
    assert out.splitlines()[0].endswith(" : 0.25") and "番号の確率 -  当てずっぽう 0.25" in out


@pytest.mark.parametrize("text, where", [(None, "result*.json"), ("", "result.json:1"), ("[\n{", "result.json:2"),
                                         ("{}", "result.json:1"), ("[]", "result.json:1"), ('[{"a": 1}]', "result.json:1")])
def test_errors(tmp_path, text, where):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert where in run_error("analysis.py", cwd=tmp_path)
