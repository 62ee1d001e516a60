"""図: 日本語の文字、棒の数。"""

import json

import pytest
from conftest import read, step
from samples import solved

from quiz.scoring import figure
from quiz.scoring.compare import make_tables
from quiz.scoring.read_results import read_results
from quiz.scoring.rows import beside_published, make_rows


def tables_of(*paths):
    results, problems = read_results([str(path) for path in paths])
    assert not problems
    return make_tables(make_rows(results))


@pytest.mark.parametrize("models", [1, 5, 20])
def test_plot(tmp_path, monkeypatch, models):
    """日本語のフォントがない、文字がない、といった警告なしに PNG ができる。"""
    for i in range(models):
        solved(
            tmp_path / f"result-{i}.json",
            [j % (i // 2 + 2) == 0 for j in range(40)],
            None if i % 2 else "./a",
            f"モデル{i // 2}",
        )
    result = step("analysis", "--plot", "図.png", "--published", cwd=tmp_path)
    assert (
        not result.stderr
        and (tmp_path / "図.png").read_bytes().startswith(b"\x89PNG")
        and "図.png を書きました" in result.stdout
    )
    (tmp_path / "result-0.json").rename(tmp_path / "学習後のモデル.json")
    monkeypatch.chdir(tmp_path)
    made = tables_of("学習後のモデル.json")
    svg = figure.plot(made, [], "svg").decode()
    assert svg.count("<!-- 学習後のモデル -->") == len(made) and "<!-- 当てずっぽう -->" in svg
    assert "<!-- quiz (n=40) -->" in svg and "<!-- 雑学 (n=20) -->" in svg
    assert "<!-- 学習曲線 -->" not in svg


def test_learning_curve(tmp_path, monkeypatch):
    """学習の記録のある結果からは、学習曲線も描く。

    同じ学習のアダプタの結果が 2 つあっても、線は 1 本。
    """
    curve = [{"epoch": e, "step": 9 * e, "accuracy": a} for e, a in enumerate((0.2, 0.5, 0.9))]
    for name, points in (("result-a1", curve), ("result-a2", curve), ("result-b", curve[:2])):
        solved(tmp_path / f"{name}.json", [True, False] * 5, "./a", "モデル")
        *records, summary = read(tmp_path / f"{name}.json")
        (tmp_path / f"{name}.json").write_text(
            json.dumps([*records, summary | {"training": {"curve": points}}])
        )
    monkeypatch.chdir(tmp_path)
    paths = [f"result-{name}.json" for name in ("a1", "a2", "b")]
    results, _ = read_results(paths)
    curves = figure.curves_of(results)
    assert set(curves) == {"result-a1", "result-b"} and curves["result-a1"] == [
        (0, 0.2),
        (1, 0.5),
        (2, 0.9),
    ]
    svg = figure.plot(make_tables(make_rows(results)), results, "svg").decode()
    assert "<!-- 学習曲線 -->" in svg and "<!-- 番号の確率での正解率 -->" in svg
    assert "f.png を書きました\n" in step("analysis", "--plot", "f.png", cwd=tmp_path).stdout


def panels(*paths):
    """枠ごとの (題, 行の名前のリスト)。"""
    found = []
    for title, rows in figure.make_panels(tables_of(*paths)):
        found.append((title, [row.name for row in rows]))
    return found


def test_different_exams_of_one_name(tmp_path, monkeypatch):
    """ファイルの名前が同じでも、違う問題を解いた結果は別の枠。

    学習前と同じ枠に並ぶのは、同じ問題を解いたものだけ。
    """
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "a.json", [1, 0, 1, 1])
    solved(tmp_path / "a-base.json", [0, 0, 1, 1], None)
    solved(tmp_path / "b.json", [1, 0, 1], "./b", prompt="別の選択肢の問題")
    paths = ["a.json", "a-base.json", "b.json"]
    assert panels(*paths)[:2] == [("quiz (n=4)", ["a", "a-base"]), ("quiz (n=3)", ["b"])]
    # 学習前が、数は同じでも別の問題を解いていれば、別の枠
    solved(tmp_path / "a-base.json", [0, 0, 1, 1], None, prompt="別の選択肢の問題")
    assert panels(*paths[:2])[:2] == [
        ("quiz (n=4)", ["a"]),
        ("quiz (n=4)", ["a-base"]),
    ]
    # 一部だけを解いたものも、別の枠
    solved(tmp_path / "b.json", [1, 0], "./b")
    assert ("quiz (n=2)", ["b"]) in panels(*paths)


def test_published_scores_stand_beside_the_same_number_of_questions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "result.json", [i % 3 for i in range(995)])
    results, _ = read_results(["result.json"])
    made = figure.make_panels(make_tables(beside_published(make_rows(results))))
    (rows,) = [rows for title, rows in made if title == "AI王 dev1 (n=995)"]
    assert len(rows) == 24 and "result" in [row.name for row in rows]
