"""表の行: 公開の点数と、自分の結果を並べたもの。"""

import csv
import json
import re

import pytest
from conftest import ROOT, step
from samples import record, solved, table_of, wilson_roots, write_result

from quiz.scoring.rows import beside_published

PUBLISHED = """\
### Table for key: 芸能
| Model | Environment | Score | Latency |
| --- | --- | --- | --- |
| swallow-13b                    | dev5 | 0.562152133580705 | 584.5554900169373 |
| swallow-7b                     | dev5 | 0.5584415584415584 | 621.7504227161407 |
| calm2-7b                       | dev5 | 0.5306122448979592 | 528.282838344574 |
| stablelm-gamma-7b              | dev5 | 0.4712430426716141 | 819.9777934551239 |
| chatntq-7b                     | dev5 | 0.4582560296846011 | 542.4657855033875 |
| ELYZA-13b-fast-instruct        | dev5 | 0.4267161410018553 | 555.7631332874298 |
| karasu-7B                      | dev5 | 0.4174397031539889 | 561.0078446865082 |
| nekomata-7b-instruction        | dev5 | 0.38589981447124305 | 304.2966306209564 |
| Xwin-LM-7b                     | dev5 | 0.3562152133580705 | 552.5936434268951 |
| youri-7b                       | dev5 | 0.3525046382189239 | 556.2371628284454 |
| LLaMA-Pro-8B-Instruct          | dev5 | 0.33766233766233766 | 675.1720423698425 |
| ELYZA-7b-fast-instruct         | dev5 | 0.3209647495361781 | 641.4171378612518 |
| Mistral-7B                     | dev5 | 0.29313543599257885 | 813.7870280742645 |
| nekomata-7b                    | dev5 | 0.26159554730983303 | 347.97372341156006 |

### Table for key: 学問
"""
# 学問、雑学、アニメ、スポーツのモデルの順 (PUBLISHED の芸能の行の番号で)。
ORDERS = [
    "0 1 6 4 3 2 5 11 7 8 9 10 12 13",
    "0 1 4 2 3 6 5 11 8 9 10 7 12 13",
    "0 1 2 3 4 5 8 6 10 7 11 9 12 13",
    "0 1 4 3 2 6 5 11 7 8 9 10 12 13",
]


def published_rows():
    with (ROOT / "data/published_scores.csv").open(encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_published_scores_are_all_there():
    """217 行: チュートリアルの 70 行は元の桁のまま、2024-02 の版の 147 行は 3 桁。

    同じ行は 2 度ない。
    """
    rows = published_rows()
    first, later = (
        [r for r in rows if r["source"] == source] for source in ("tutorial", "2024-02")
    )
    assert len(rows) == len({(r["environment"], r["model"]) for r in rows}) == 217 and (
        len(first),
        len(later),
    ) == (70, 147)
    lines = [
        f"| {r['model']:<30} | {r['environment']} | {r['score']} | {r['latency']} |"
        for r in first
        if r["genre"] == "芸能"
    ]
    assert lines == PUBLISHED.split("| --- | --- | --- | --- |\n")[1].split("\n\n")[0].splitlines()
    models = [r["model"] for r in first]
    assert [models[i : i + 14] for i in range(14, 70, 14)] == [
        [models[int(k)] for k in order.split()] for order in ORDERS
    ]
    assert first[-1]["score"] == "0.2321187584345479" and all(len(r["score"]) <= 5 for r in later)
    whole = {(r["genre"], r["environment"]) for r in later if r["environment"] < "dev5"}
    assert whole == {
        ("AI王 dev1", "dev1"),
        ("AI王 dev2", "dev2"),
        ("JcommonsenseQA-v1.1 valid dev3", "dev3"),
        ("JcommonsenseQA-v1.1 train dev4", "dev4"),
    }
    named = {
        line.split(",")[0]
        for line in (ROOT / "data/models.csv").read_text(encoding="utf-8").splitlines()[1:26]
    }
    assert {r["model"] for r in rows} == named


def test_published_tables(tmp_path):
    """結果がなければ、公開の 9 つの表を点数の順に、元の桁のまま出す。"""
    out = step("analysis", "--published", cwd=tmp_path).stdout
    keys = re.findall("key: (.*)", out)
    assert keys[:5] == ["芸能", "学問", "雑学", "アニメ", "スポーツ"] and len(keys) == 9
    shown = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in out.splitlines()
        if "| dev" in line
    ]
    assert sorted(map(tuple, shown)) == sorted(
        (r["model"], r["environment"], r["score"], r["latency"]) for r in published_rows()
    )
    for key in keys:
        scores = [float(row["Score"]) for row in table_of(out, key).values()]
        assert scores == sorted(scores, reverse=True)
    assert table_of(out, "AI王 dev1")["open-calm-small"]["Score"] == "0.348"


def test_published_beside_own(tmp_path):
    """自分の結果は、同じ分野の表に点数の順に入る。

    公開の行の n は、元の桁の Score が (整数)/n になる数。
    """
    write_result(
        tmp_path / "result-mine.json", [{**record(k < 5, "学問"), "qid": str(k)} for k in range(10)]
    )
    out = step("analysis", "--published", cwd=tmp_path).stdout
    scores = [float(row["Score"]) for row in table_of(out, "学問").values()]
    assert 0.5 in scores and scores == sorted(scores, reverse=True) and len(scores) == 26
    for (_, key), rows in beside_published({}).items():
        for row in rows:
            k = row.score * row.n
            assert 500 < row.n < 9000, key
            assert len(str(row.score)) <= 5 or abs(k - round(k)) < 1e-9, key
            assert row.interval == pytest.approx(wilson_roots(round(k), row.n), abs=1e-9)


@pytest.mark.parametrize("n, beside", [(995, True), (990, True), (996, False), (179, False)])
def test_own_dev1_beside_the_published_dev1(n, beside, tmp_path):
    """quiz.json の全問を解いた結果は、公開の dev1 の表に並ぶ。

    ほかの問題や一部だけの結果は並ばない。
    """
    solved(tmp_path / "result.json", [i % 3 for i in range(n)])
    out = step("analysis", "--published", cwd=tmp_path).stdout
    if beside:  # 一部だけの結果が隣にあっても、問題文を隠した結果は並ばない
        solved(tmp_path / "result-part.json", [1, 0, 1])
        *rows, summary = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
        (tmp_path / "result-blank.json").write_text(
            json.dumps([*rows, summary | {"blank_question": True}], ensure_ascii=False)
        )
        names = table_of(step("analysis", "--published", cwd=tmp_path).stdout, "AI王 dev1")
        assert "result" in names and "result-part" not in names and "result-blank" not in names
    assert ("result" in table_of(out, "AI王 dev1")) == beside and ("key: quiz\n" in out) != beside
