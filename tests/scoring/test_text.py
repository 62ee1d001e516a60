"""チュートリアルの 1 行と、その内訳。"""

from conftest import step
from samples import record, write_result


def test_tutorial_line(tmp_path):
    """チュートリアルと同じ 1 行が出る。

    内訳は問題数、読み取れない回答、番号の確率、当てずっぽう。
    """
    hits = [True] * 7 + [False] * 13
    records = [record(h) if h else record(False, "雑学", (0.7, 0.1, 0.1, 0.1), "ロ") for h in hits]
    write_result(tmp_path / "result.json", records)
    lines = step("analysis", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "result.json" + " " * 49 + " : 0.35"
    assert lines[1].split() == [
        "20",
        "問",
        "読み取れない",
        "65.0",
        "%",
        "番号の確率",
        "0.35",
        "当てずっぽう",
        "0.25",
    ]
    genres = step("analysis", "--genre", cwd=tmp_path).stdout
    assert "学問: 1.00 (7 問)" in genres and "雑学: 0.00 (13 問)" in genres


def test_likelihood_counts_the_right_label(tmp_path):
    """生成では書式を守れなくても、番号の確率が正しければ likelihood には数える。"""
    write_result(
        tmp_path / "r.json",
        [record(False, output=""), record(False, output="", probs=(0.9, 0, 0.1, 0)), record(True)],
    )
    out = step("analysis", "r.json", cwd=tmp_path).stdout
    assert " : 0.3333" in out and "番号の確率 0.67" in out


def test_tutorial_era_file(tmp_path):
    """2024 年版の result.json (追加の項目なし、最後は elapsed_time だけ) も読める。"""
    old = [
        {k: v for k, v in record(i < 1).items() if k not in ("choice_probs", "seconds", "genre")}
        for i in range(4)
    ]
    write_result(tmp_path / "result.json", old)
    out = step("analysis", cwd=tmp_path).stdout
    assert out.splitlines()[0].endswith(" : 0.25") and "番号の確率 -  当てずっぽう 0.25" in out
