"""結果のファイルを読む: 古い形、壊れた記録、どこで切れたファイルでも。"""

import json
import os
import shutil

import pytest
from conftest import read, step, step_error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import record, solved, table_of, write_result

from quiz.prompt import Question, eval_record


def old_record(hit, **changes):
    """2024 年版のチュートリアルの形の 1 件。"""
    kept = {"ID", "instruction", "input", "prompt", "output", "correct_answer", "out_str", "hit"}
    return {key: value for key, value in record(hit, **changes).items() if key in kept}


def test_old_files_everywhere(tmp_path):
    """2024 年版のファイルでも、どのオプションも動く。分からない値は - 。"""
    # 選択肢が input になく、すべて instruction にあるもの
    no_input = [old_record(i < 1, text=f"{i}?") | {"input": ""} for i in range(4)]
    write_result(tmp_path / "result.json", no_input)
    write_result(tmp_path / "result2.json", [old_record(True)])
    write_result(tmp_path / "result3.json", [old_record(False, output="わからない", text="?")])
    out = step(
        "analysis", "--table", "--errors", "--plot", "a.svg", "--html", "a.html", cwd=tmp_path
    )
    table = table_of(out.stdout, "全問")
    assert list(table["result"].values()) == [
        "result",
        "-",
        "0.2500",
        "1.5",
        "4",
        "0.046-0.699",
        "0.0 %",
        "-",
        "-",
        "best",
        "-",
    ]
    assert table["result2"]["Chance"] == "0.25" and table["result2"]["Score"] == "1.0000"
    assert table["result3"]["Unparsed"] == "100.0 %" and not out.stderr
    assert out.stdout.count("確信度は出せません") == 3 and (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    "text, where",
    [
        (None, "result*.json"),
        ("", "result.json:1"),
        ("[\n{", "result.json:2"),
        ("{}", "result.json:1"),
        ("[]", "result.json:1"),
        ('[{"a": 1}]', "result.json:1"),
    ],
)
def test_errors(tmp_path, text, where):
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert where in step_error("analysis", cwd=tmp_path)


def test_errors_in_one_record(tmp_path):
    """1 件だけおかしいときは、その行を知らせる。出力のファイルは元のまま。"""
    (tmp_path / "page.html").write_text("前の結果")
    for change in (
        {"choice_probs": []},
        {"choice_probs": [1, "x"]},
        {"choice_probs": [float("nan")] * 4},
        {"choice_probs": [0.1, 0.2, 0.6]},
        {"choice_probs": [0.1, 0.2, 0.6, 0.1, 0.1]},
        {"correct_answer": "9: ロ"},
        {"correct_answer": None},
        {"output": None},
        {"input": 3},
        {"seconds": "速い"},
    ):
        text = json.dumps(
            [record(True), {**record(True), **change}, {"elapsed_time": 1}],
            ensure_ascii=False,
            indent=1,
        )
        (tmp_path / "result.json").write_text(text, encoding="utf-8")
        line = text[: text.index("{", text.index("{") + 1)].count("\n") + 1
        assert f"result.json:{line}: " in step_error(
            "analysis", "--html", "page.html", cwd=tmp_path
        ), change
    write_result(tmp_path / "result.json", [record(True)])
    before = (tmp_path / "result.json").read_bytes()
    # FILE を付け忘れると、次の引数の結果のファイルが FILE になる。
    assert ".html" in step_error("analysis", "--html", "result.json", cwd=tmp_path)
    assert ".png" in step_error("analysis", "--plot", "result.json", cwd=tmp_path)
    assert "none/page.html" in step_error("analysis", "--html", "none/page.html", cwd=tmp_path)
    assert "page.html/x.png" in step_error("analysis", "--plot", "page.html/x.png", cwd=tmp_path)
    beside = tmp_path / "page.html.tmp"
    beside.mkdir()  # 隣に書けないときも、元のファイルには触らない
    assert "page.html に書けません" in step_error("analysis", "--html", "page.html", cwd=tmp_path)
    beside.rmdir()
    assert (tmp_path / "result.json").read_bytes() == before and (
        tmp_path / "page.html"
    ).read_text() == "前の結果"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "result.json"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    work = tmp_path_factory.mktemp("whole")
    solved(work / "result.json", [1, 0, 1])
    return work


@settings(
    deadline=None,
    max_examples=int(os.environ.get("EXAMPLES", 60)),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_result_cut_anywhere(whole, tmp_path, data):
    """どこで切れたファイルでも、traceback は出ず、そのファイルを作り直す手順を言う。"""
    work = tmp_path / "work"
    shutil.copytree(whole, work, dirs_exist_ok=True)
    raw = (whole / "result.json").read_bytes()
    (work / "result.json").write_bytes(raw[: data.draw(st.integers(0, len(raw.rstrip()) - 1))])
    error = step_error("analysis", "--errors", cwd=work)
    assert "python run_quiz.py" in error and "CP932" not in error and "result.json" in error


def test_old_result_with_a_choice_read_as_a_label_is_graded_again(tmp_path):
    """前の版は「2:3」を番号 2 と読んで正解とした。採点し直せば、読み取れない回答である。"""
    q = Question("比は?", ("2:3", "0:1", "1:3", "1:1"), 2)
    changes = {"prompt": q.prompt, "correct_answer": q.answer, "output": "2:3", "out_str": "2"}
    write_result(tmp_path / "result.json", [record(True) | eval_record(q) | changes])
    shown = step("analysis", cwd=tmp_path)
    assert shown.stdout.splitlines()[0].endswith(" : 0.0")
    assert "読み取れない 100.0 %" in shown.stdout
    assert "採点し直しました" in shown.stderr


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda rows: rows.pop(), "最後の要素 (elapsed_time) がない"),
        (lambda rows: rows.insert(1, rows[0]), "ID の同じ記録"),
        (lambda rows: rows[1].pop("ID"), "ID のない記録"),
        (lambda rows: rows[1].pop("choice_probs"), "choice_probs か text_log_probs のない記録"),
    ],
)
def test_incomplete_or_doubled_result(change, why, tmp_path):
    """途中で切れたり、記録が重なったり、項目の欠けた記録の混じる結果は、点数にしない。"""
    solved(tmp_path / "result.json", [1, 0, 1])
    rows = read(tmp_path / "result.json")
    change(rows)
    (tmp_path / "result.json").write_text(json.dumps(rows), encoding="utf-8")
    assert why in step_error("analysis", cwd=tmp_path)


def test_edited_hit_is_not_believed(tmp_path):
    """hit を書き換えても、回答と正解から採点し直し、そう言う。"""
    records = [record(False) | {"ID": i} for i in range(5)]
    records[3]["hit"] = True
    text = json.dumps([*records, {"elapsed_time": 1}], ensure_ascii=False, indent=1)
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    shown = step("analysis", cwd=tmp_path)
    assert shown.stdout.splitlines()[0].endswith(" : 0.0")
    line = text.splitlines().index(" {", text[: text.index('"hit": true')].count("\n") - 14) + 1
    assert shown.stderr == (
        f"注意: result.json:{line}: 書いてある hit か out_str が、回答と合いません (ほかに 0 件)。"
        "回答と正解から採点し直しました。\n"
    )


@pytest.mark.parametrize(
    "changes, score, unread",
    [
        ({"hit": "yes"}, "1.0", "0.0 %"),
        ({"hit": None}, "1.0", "0.0 %"),
        ({"out_str": ""}, "1.0", "0.0 %"),  # 読み取れなかったことにした
        ({"output": "わからない"}, "0.0", "100.0 %"),  # 回答を書き換えた
        ({"output": "1: は"}, "0.0", "0.0 %"),
        ({"correct_answer": "1: は"}, "0.0", "0.0 %"),
    ],
)
def test_record_that_contradicts_itself_is_graded_again(changes, score, unread, tmp_path):
    write_result(tmp_path / "result.json", [record(True) | changes])
    shown = step("analysis", cwd=tmp_path)
    assert (
        shown.stdout.splitlines()[0].endswith(f" : {score}")
        and f"読み取れない {unread}" in shown.stdout
    )
    assert shown.stderr.startswith("注意: result.json:1: ") and "採点し直しました" in shown.stderr


def test_hit_that_cannot_be_is_a_miss_in_the_old_form(tmp_path):
    """2024 年版の形でも、番号を読み取れないのに正解ということはない。"""
    write_result(
        tmp_path / "result.json",
        [old_record(True) | {"out_str": "わからない"}] * 3 + [old_record(True)],
    )
    shown = step("analysis", cwd=tmp_path)
    assert (
        shown.stdout.splitlines()[0].endswith(" : 0.25") and "読み取れない 75.0 %" in shown.stdout
    )
    assert "result.json:1: " in shown.stderr and "ほかに 2 件" in shown.stderr


def test_correct_answer_that_is_no_choice(tmp_path):
    write_result(tmp_path / "result.json", [record(True) | {"correct_answer": "2: 犬"}])
    assert "選択肢のどれでもありません" in step_error("analysis", cwd=tmp_path)


@pytest.mark.parametrize(
    "output, hit", [("2:3", False), ("0:1", False), ("2: 1:3", True), ("2：1:3", True)]
)
def test_answer_that_is_a_choice_is_no_label(output, hit, tmp_path):
    """選択肢が 2:3 や 0:1 のとき、その文字だけの回答は、番号ではない。"""
    q = Question("比は?", ("2:3", "0:1", "1:3", "1:1"), 2)
    changes = {
        **eval_record(q),
        "prompt": q.prompt,
        "correct_answer": q.answer,
        "output": output,
        "hit": hit,
        "out_str": "2" if hit else "",
    }
    write_result(tmp_path / "result.json", [record(hit) | changes])
    shown = step("analysis", cwd=tmp_path)
    assert shown.stdout.splitlines()[0].endswith(f" : {float(hit)}") and not shown.stderr


@pytest.mark.parametrize(
    "genre, heads",
    [
        (float("nan"), []),
        (None, []),
        ("", []),
        ("　", []),
        ("学問\n", ["学問"]),
        (" 学問  2 ", ["学問 2"]),
        (3, ["3"]),
    ],
)
def test_genre_is_one_line_or_none(genre, heads, tmp_path):
    """分野が NaN や空なら、ないのと同じ。改行や前後の空白は取る。"""
    write_result(tmp_path / "result.json", [record(True) | {"genre": genre}] * 2)
    lines = step("analysis", "--genre", cwd=tmp_path).stdout.splitlines()
    assert [line.split(":")[0].strip() for line in lines[2:]] == heads


@pytest.mark.parametrize("elapsed", [None, "速い", [1], float("nan")])
def test_elapsed_time_that_is_no_number(elapsed, tmp_path):
    """かかった時間が数でなければ、- にする。"""
    records = [{**record(True), "genre": None}]
    write_result(tmp_path / "result.json", records, elapsed_time=elapsed, quiz=["quiz.json"])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert table_of(out, "quiz")["result"]["Latency"] == "-"
