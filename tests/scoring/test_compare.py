"""表: 区間と検定。同じ問題だけを比べること。"""

import json
import re
from dataclasses import replace

import pytest
from conftest import ROOT, read, step, step_error
from samples import (
    SETTINGS,
    record,
    record_of,
    solved,
    table_of,
    trained,
    wilson_roots,
    write_result,
)

from quiz.questions.converted import read_quiz
from quiz.scoring.compare import compare
from quiz.scoring.read_results import read_results
from quiz.scoring.rows import make_row


@pytest.mark.parametrize("key", ["qid", "prompt"])
def test_table(tmp_path, key):
    """点数の順に並び、区間、学習前と最良との検定が付く。

    最良と区別できないものには ≈。問題の順は違ってもよい。
    """
    solved(tmp_path / "result-base.json", [1] * 20 + [0] * 60, None, key=key)
    solved(tmp_path / "result-good.json", [0] * 5 + [1] * 60 + [0] * 15, key=key)
    path = tmp_path / "result-near.json"
    records = solved(path, [0] * 8 + [1] * 55 + [0] * 17, key=key)
    summary = {"elapsed_time": 1, "model": "calm", "adapter": "./b", "quiz": ["quiz.json"]}
    path.write_text(json.dumps([*records[::-1], summary], ensure_ascii=False), encoding="utf-8")
    solved(tmp_path / "result-other.json", [1, 0, 1], None, "swallow", key=key)  # 3 問だけが共通
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["quiz", "雑学", "学問"]
    table = table_of(out, "quiz")
    assert list(table) == ["result-good", "result-near", "result-other", "result-base"]
    good, near, other, base = table.values()
    assert good == {
        "Model": "result-good",
        "Environment": "quiz",
        "Score": "0.7500",
        "Latency": "9.5",
        "n": "80",
        "95% CI": "0.645-0.832",
        "Unparsed": "0.0 %",
        "Likelihood": "1.0000",
        "Chance": "0.25",
        "vs best": "best",
        "vs base": "+45 -5 p<0.001",
        "model": "calm",
    }
    # near は good と 0 勝 5 敗なので p = 2 × 2**-5 = 0.0625。
    # 3 つの検定のうち 2 番目に小さいので、Holm の補正で 2 倍になる。
    assert (
        near["vs best"] == "+0 -5 p=0.125 ≈"
        and base["vs best"] == "+5 -45 p<0.001"
        and base["vs base"] == "base"
    )
    assert (
        other["vs best"] == "+2 -0 p=0.500 ≈" and other["vs base"] == "base" and other["n"] == "3"
    )
    assert (
        "| result-good | result-base | 80 | +0.500 | " in out
        and "| result-base | result-good |" not in out
    )
    assert "- result-other と result-good: 共通でない問題 (前の 0 問、後の 77 問) を除いた" in out
    assert (
        table_of(out, "学問")["result-good"]["n"] == "40"
        and table_of(out, "学問")["result-good"]["Latency"] == "20.0"
    )
    assert "Wilson" in out and "Holm" in out


def test_same_questions_with_other_choices_are_no_pair(tmp_path):
    """qid が同じでも、選択肢の数 (4、5、10) か順が違えば、同じ問題ではない。断って、わけを言う。"""
    rows = [
        json.loads(line)
        for line in (ROOT / "data/demo/dev1_questions.json")
        .read_text(encoding="utf-8")
        .splitlines()[:20]
    ]
    (tmp_path / "dev.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, options in (
        ("4", ["--num-choices", "4"]),
        ("5", []),
        ("10", ["--num-choices", "10"]),
        ("seed1", ["--seed", "1"]),
    ):
        step("convert_eval", "dev.json", "-o", f"quiz-{name}.json", *options, cwd=tmp_path)
        questions = read_quiz([tmp_path / f"quiz-{name}.json"])
        records = []
        for q in questions:
            records.append(record_of(q, q.lines[0], [1] + [0] * (len(q.choices) - 1)))
        path = tmp_path / f"result-{name}.json"
        write_result(path, records, model="m", adapter=name, quiz=["quiz.json"])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    table = table_of(out, "学問")
    assert (
        sorted(row["vs best"] for row in table.values()) == ["-", "-", "-", "best"]
        and "p<" not in out
    )
    part = out.split("比べなかったもの、条件の違うもの:")[1].split("###")[0]
    assert part.count("qid が同じでも、選択肢かその順が違えば、別の問題") == 3


def test_base_is_never_best(tmp_path):
    """学習前のモデルは、点数が高くても「最良」とは呼ばない。「最良」は表に 1 つ。"""
    solved(tmp_path / "result-base.json", [1] * 9 + [0], None)
    solved(tmp_path / "result-a.json", [1] * 5 + [0] * 5)
    solved(tmp_path / "result-b.json", [1] * 4 + [0] * 6, "./b")
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert [(name, row["vs best"]) for name, row in table.items() if row["vs best"] == "best"] == [
        ("result-a", "best")
    ]
    (tmp_path / "result-a.json").unlink()
    (tmp_path / "result-b.json").unlink()
    solved(tmp_path / "result-base2.json", [1] * 4 + [0] * 6, None, "other")
    assert "best" not in [
        row["vs best"]
        for row in table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz").values()
    ]


def test_table_corrects_for_many_comparisons(tmp_path):
    """0 勝 6 敗は 1 回の検定なら p = 2 × 2**-6 = 0.031。

    2 つの検定なら 2 倍になり、最良と区別できない。
    """
    for name, missed in (("best", ()), ("left", range(6)), ("right", range(10, 16))):
        solved(tmp_path / f"result-{name}.json", [i not in missed for i in range(20)])
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert [row["vs best"] for row in table.values()] == [
        "best",
        "+0 -6 p=0.062 ≈",
        "+0 -6 p=0.062 ≈",
    ]
    (tmp_path / "result-right.json").unlink()
    assert (
        table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")["result-left"]["vs best"]
        == "+0 -6 p=0.031"
    )


def test_identical_runs(tmp_path):
    """同じ結果どうしなら p = 1 で、どちらが上とも言わない。"""
    for name in "ab":
        solved(tmp_path / f"result-{name}.json", [1, 0, 1, 1])
    assert (
        table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")["result-b"]["vs best"]
        == "+0 -0 p=1.000 ≈"
    )


def test_same_file_name_in_two_folders(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        solved(tmp_path / name / "result.json", [1, 0])
    out = step("analysis", "--table", "a/result.json", "b/result.json", cwd=tmp_path).stdout
    assert list(table_of(out, "quiz")) == ["a/result", "b/result"]


def keys(out):
    return re.findall("key: (.*)", out)


def test_file_and_genre_of_one_name(tmp_path):
    """問題のファイルと分野が同じ名前でも、両方の表が出る。"""
    summary = {"quiz": ["学問.json"]}
    solved(tmp_path / "result-a.json", [1, 0, 1, 1, 0], summary=summary)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert keys(out) == ["学問", "雑学", "学問 (分野)"]
    assert (
        table_of(out, "学問")["result-a"]["n"] == "5"
        and table_of(out, "学問 (分野)")["result-a"]["n"] == "2"
    )
    # 別の結果の分野の名前と、公開の表の分野の名前が同じときも
    solved(tmp_path / "result-b.json", [1, 1], summary={"quiz": ["雑学.json"]})
    out = step("analysis", "--table", "--published", cwd=tmp_path).stdout
    assert {"学問", "学問 (分野)", "雑学", "雑学 (分野)"} <= set(keys(out)) and len(
        keys(out)
    ) == len(set(keys(out)))
    assert table_of(out, "学問")["result-a"]["n"] == "5" and len(table_of(out, "学問 (分野)")) > 20


def repeated(path, hits, adapter="./out", **extra):
    """
    qid のない、同じ文字列を何度も問うた結果 (正誤問題を --blank-question で解いたときのように)。
    """
    records = []
    for i, h in enumerate(hits):
        label = i % 2
        records.append({**record(bool(h), None, label=label, text=""), **extra})
    write_result(path, records, model="m", adapter=adapter, quiz=["quiz.json"], blank_question=True)


def test_repeated_prompts_are_all_compared(tmp_path):
    """同じ文字列を 10 回ずつ問うても、20 問を比べる。違う問題がいくつかも言う。"""
    repeated(tmp_path / "result-a.json", [1] * 12 + [0] * 8)
    repeated(tmp_path / "result-base.json", [0] * 20, None)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| result-a | result-base | 20 (2 通り) | +0.600 | " in out and table_of(out, "quiz")[
        "result-a"
    ]["vs base"].startswith("+12 -0 ")
    assert "共通でない" not in out


def test_overlapping_quiz_files(tmp_path):
    """問題の重なる 2 つのファイルを解いた結果どうし。

    重なりは、片方だけで 2 度なら 1 度だけ比べる。
    """

    def twice(path, hits, adapter, times):
        records = [
            {**record(bool(h), text=f"問い{i}?"), "qid": f"q{i}"} for i, h in enumerate(hits)
        ]
        write_result(
            path, records * times, model="m", adapter=adapter, quiz=["quiz.json", "quiz2.json"]
        )

    twice(tmp_path / "result-a.json", [1, 1, 1, 0], "./a", 2)
    twice(tmp_path / "result-base.json", [1, 0, 0, 0], None, 2)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| result-a | result-base | 8 (4 通り) | +0.500 | " in out
    twice(tmp_path / "result-base.json", [1, 0, 0, 0], None, 1)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert (
        "| result-a | result-base | 4 | +0.500 | " in out
        and "共通でない問題 (前の 4 問、後の 0 問) を除いた" in out
    )


def test_every_answer_takes_part(tmp_path):
    """行の一部の問題しか比べられないなら、小さい n の比較を出さずに終わる。"""
    solved(tmp_path / "a.json", [1, 0, 1])
    results, _ = read_results([str(tmp_path / "a.json")])
    row = make_row(results[0], results[0].answers, None)
    first = dict(list(row.answers.items())[:1])
    with pytest.raises(SystemExit, match="3 問のうち 1 問しか"):
        compare(row, replace(row, answers=first))


def test_why_nothing_is_compared(tmp_path):
    """比べなかったわけが本当のわけである: 解き方の違い、問題の違い。"""
    solved(tmp_path / "result-a.json", [1, 0])
    solved(tmp_path / "result-b.json", [1, 0])
    solved(
        tmp_path / "result-blank.json",
        [1],
        prompt="問題を隠した文字列",
        summary={"blank_question": True},
    )
    solved(tmp_path / "result-other.json", [1], prompt="別の問題")
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert (
        "- result-blank と result-a: 解き方が違う" in out
        and "- result-other と result-a: 同じ問題が 1 問もない" in out
    )


def test_label_score_stands_beside_the_generated_one(tmp_path):
    """生成では大勝ちでも、番号の確率では負けているときに、両方の差が並ぶ。"""
    right, wrong = [0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]
    for name, adapter, hits, likely in (
        ("result", "./out", [1] * 40, [1] * 10 + [0] * 30),
        ("result-base", None, [0] * 40, [1] * 30 + [0] * 10),
    ):
        rows = [
            {**record(bool(h), probs=right if k else wrong), "qid": f"q{i}"}
            for i, (h, k) in enumerate(zip(hits, likely))
        ]
        write_result(
            tmp_path / f"{name}.json", rows, model="m", adapter=adapter, quiz=["quiz.json"]
        )
    out = step("analysis", "--table", cwd=tmp_path).stdout
    line = next(
        line for line in out.splitlines() if line.startswith("| result | result-base | 40 | ")
    )
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[3] == "+1.000" and cells[7] == "-0.500" and cells[9] == "p<0.001"
    low, high = map(float, cells[8].split(" から "))
    assert low < -0.5 < high < 0


def test_trainings_that_differ_only_in_the_seed(tmp_path):
    """種だけが違う 3 つの学習が 1 行になる。学習の量が違うものは、まとめない。"""
    for seed, hits, steps in (
        (1, [1, 1, 0, 0], 9),
        (2, [1, 1, 1, 0], 9),
        (3, [1, 1, 0, 0], 9),
        (4, [0, 0, 0, 0], 5),
    ):
        trained(tmp_path / f"result-{seed}.json", seed, hits, steps_done=steps)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert (
        "| result-2 | 2, 1, 3 |" not in out
        and "| 1, 2, 3 | 4 | 0.5833 | " in out
        and "| 0.1443 |" in out
    )
    assert "| result-1、result-2、result-3 | 1, 2, 3 | " in out


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": SETTINGS | {"lora_r": 8}},
        {"settings": SETTINGS | {"learning_rate": 0.1}},
        {"settings": {"lora_r": 64}},
        {"digest": "d2"},
    ],
)
def test_trainings_that_differ_in_more_are_not_averaged(changes, tmp_path):
    trained(tmp_path / "result-1.json", 1, [1, 1, 0, 0])
    trained(tmp_path / "result-2.json", 2, [1, 0, 0, 0], **changes)
    assert "| 1, 2 |" not in step("analysis", "--table", cwd=tmp_path).stdout


def test_results_without_settings_are_not_averaged(tmp_path):
    """前の版の結果は、種だけが違うのか分からないので、まとめない。"""
    for seed in (1, 2):
        trained(
            tmp_path / f"result-{seed}.json", seed, [1, 0], **{"train_files": None}
        ) if seed == 1 else trained(tmp_path / f"result-{seed}.json", seed, [1, 1])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| 1, 2 |" not in out and "設定の記録のない結果" in out


def test_two_results_of_one_seed(tmp_path):
    """同じ種の 2 つ目は平均に入れず、そう言う。"""
    trained(tmp_path / "result-1.json", 1, [1, 1, 1, 1])
    trained(tmp_path / "result-1b.json", 1, [1, 0, 0, 0])
    trained(tmp_path / "result-2b.json", 2, [1, 1, 1, 1])  # 点数の高い方を選ばない
    trained(tmp_path / "result-2.json", 2, [1, 1, 0, 0])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| 1, 2 | 4 | 0.7500 | " in out and "- result-1b: 種が result-1 と同じ" in out
    assert "- result-2b: 種が result-2 と同じ" in out


def test_all_misses_have_an_interval(tmp_path):
    """どの種でも 60 問中 0 問でも、区間は 0.000-0.000 ではない。"""
    for seed in (1, 2):
        trained(tmp_path / f"result-{seed}.json", seed, [0] * 60)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    low, high = wilson_roots(0, 60)
    assert "| 1, 2 | 60 | 0.0000 | 0.0000 |" in out and high > 0.05
    assert out.count(f"| {low:.3f}-{high:.3f} |") == 2 and "0.000-0.000" not in out


def test_two_results_are_always_a_pair(tmp_path):
    """学習前どうしでも、モデルが違っても、2 つだけなら差が出る。3 つなら、決まった組だけ。"""
    for name, model, hits in (("a", "x", [1] * 9), ("b", "y", [0] * 8 + [1])):
        solved(tmp_path / f"result-{name}.json", hits, None, model)
    solved(tmp_path / "result-c.json", [0] * 9, None, "z")
    out = step("analysis", "--table", "result-b.json", "result-a.json", cwd=tmp_path).stdout
    assert "| result-a | result-b | 9 | +0.889 | " in out and "| +8 -0 | p=0.008 |" in out
    assert "| 共通の n |" not in step("analysis", "--table", cwd=tmp_path).stdout


def test_a_class(tmp_path):
    """40 人の結果は、1 つの読める表になる: 名前、写し、違う問題、壊れたファイル。組の差はない。"""
    for i in range(40):
        folder = tmp_path / "class" / f"s{i:02}"
        folder.mkdir(parents=True)
        hits = [k < i for k in range(40)]
        summary = {"name": f"学生{i}"} if i < 20 else {}
        solved(folder / "result.json", hits, f"./out{i}", summary=summary)
    solved(tmp_path / "class/s03/result.json", [1, 0, 1], prompt="別の問題")
    copied = (tmp_path / "class/s07/result.json").read_bytes()
    (tmp_path / "class/s30/result.json").write_bytes(copied)
    (tmp_path / "class/s31/result.json").write_text("[\n{")
    (tmp_path / "class/s32/train-5-inst.json").write_text("学習用のファイルは読まない")
    shown = step("analysis", "--table", "class", cwd=tmp_path, status=1)
    table = table_of(shown.stdout, "quiz")
    assert len(table) == 39 and list(table)[0] == "class/s39/result"
    assert "学生5 (class/s05/result)" in table and "class/s25/result" in table
    assert "学生7 (class/s07/result)" in table and "学生7 (class/s30/result)" in table
    assert {row["vs best"] for row in table.values()} == {"-"}
    assert "| 共通の n |" not in shown.stdout
    assert "結果が 39 あるので、最良との比較も、組ごとの差も出しません" in shown.stdout
    odd = "- class/s03/result: 問題がほかと違う (3 問のうち共通は 0 問)"
    assert shown.stdout.count("問題がほかと違う") == 3 and odd in shown.stdout  # 全問と 2 つの分野
    notes = shown.stderr.splitlines()
    assert notes[0].startswith("注意: class/s31/result.json:2: ")
    same = "回答も、かかった秒も、class/s07/result.json と同じです"
    assert notes[1].startswith(f"注意: class/s30/result.json: {same}") and len(notes) == 3


def test_one_folder_of_results(tmp_path):
    """1 つのフォルダに、別の名前で集めた結果。"""
    (tmp_path / "class").mkdir()
    for name in ("suzuki", "yamada"):
        solved(tmp_path / "class" / f"{name}.json", [1, 0])
    out = step("analysis", "--table", "class", cwd=tmp_path).stdout
    assert list(table_of(out, "quiz")) == ["class/suzuki", "class/yamada"]
    # result で始まるものがあれば、ほかは読まないが、そう言う
    (tmp_path / "class/suzuki.json").rename(tmp_path / "class/result-suzuki.json")
    shown = step("analysis", "--table", "class", cwd=tmp_path)
    assert list(table_of(shown.stdout, "quiz")) == ["class/result-suzuki"]
    assert shown.stderr.startswith("注意: class の yamada.json: 名前が result で始まらない")
    (tmp_path / "empty").mkdir()
    assert "empty を読めません" in step_error("analysis", "empty", cwd=tmp_path)


def test_bar_in_a_name(tmp_path):
    """名前に | があっても、表の欄は増えない。"""
    solved(tmp_path / "result-a|b.json", [1, 1, 1, 0])
    solved(tmp_path / "result-base.json", [0, 0, 0, 0], None)
    out = step("analysis", "--table", cwd=tmp_path).stdout
    for start in ("| Model", "| A | B"):
        block = out[out.index(start) :].split("\n\n")[0].splitlines()
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block}
        assert len(columns) == 1 and len(block) > 2


def test_part_of_the_questions_is_not_averaged_over_seeds(tmp_path):
    """一部だけを解いた種の結果は、平均に入れず、名前を言う。"""
    trained(tmp_path / "result-1.json", 1, [1, 1, 1, 1])
    trained(tmp_path / "result-2.json", 2, [1, 1, 0, 0])
    trained(tmp_path / "result-3.json", 3, [1, 1])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| result-1、result-2 | 1, 2 | 4 | 0.7500 | " in out
    assert "- result-3: 問題がほかの種の結果と違う" in out


def test_questions_that_only_one_side_has(tmp_path):
    """共通でない問題の数は、どちらのものかを分けて言う。"""
    for name, adapter, asked in (("a", "./out", range(10)), ("base", None, range(3, 8 + 7))):
        records = []
        for i in asked:
            records.append({**record(adapter is not None, text=f"問い{i}?"), "qid": f"q{i}"})
        path = tmp_path / f"result-{name}.json"
        write_result(path, records, model="m", adapter=adapter, quiz=["quiz.json"])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "- result-a と result-base: 共通でない問題 (前の 3 問、後の 5 問) を除いた" in out
    assert "| result-a | result-base | 7 | +1.000 | " in out


def test_base_is_the_one_asked_in_the_same_way(tmp_path):
    """学習前に例を見せた結果 (--shots) が高くても、vs base は、例のない学習前との比較。"""
    solved(tmp_path / "result-base.json", [0] * 20, None)
    solved(tmp_path / "result-base-shots4.json", [1] * 8 + [0] * 12, None, summary={"shots": 4})
    solved(tmp_path / "result.json", [1] * 20)
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert table["result"]["vs base"].startswith("+20 -0 ")
    (tmp_path / "result-base.json").unlink()
    out = step("analysis", "--table", cwd=tmp_path).stdout
    table = table_of(out, "quiz")
    assert table["result"]["vs base"].startswith("+12 -0 ")
    # ほかになくて解き方の違うものと比べたら、そう言い、違いの列も出る
    assert table["result-base-shots4"]["shots"] == "4" and table["result"]["shots"] == "-"
    assert "- result と result-base-shots4: 解き方が違う" in out


def test_base_computed_in_the_same_way(tmp_path):
    """学習前の結果が 2 つあれば、計算の条件が同じ方と比べる。違えば、そう言う。"""
    exact = {"load_in_4bit": False, "dtype": "torch.float32"}
    rough = {"load_in_4bit": True, "dtype": "torch.float16"}
    solved(tmp_path / "result-base-4bit.json", [0] * 20, None, summary=rough)
    solved(tmp_path / "result-base-full.json", [1] * 8 + [0] * 12, None, summary=exact)
    solved(tmp_path / "result.json", [1] * 20, summary=exact)
    shown = step("analysis", "--table", "--taught", cwd=tmp_path).stdout
    table = table_of(shown, "quiz")
    assert table["result"]["vs base"].startswith("+12 -0 ")
    assert table["result-base-4bit"]["dtype"] == "torch.float16"
    assert "| result-base-full (20 問) |" in shown and "result-base-4bit (20 問)" not in shown
    (tmp_path / "result-base-full.json").unlink()
    shown = step("analysis", "--table", "--taught", cwd=tmp_path).stdout
    assert "- result と result-base-4bit: 計算の条件が違う (load_in_4bit、dtype)" in shown
    assert "| result-base-4bit (20 問) 計算の条件が違う (load_in_4bit、dtype) |" in shown


def test_one_who_showed_examples_in_a_class(tmp_path):
    """例を見せて (--shots) 解いた学生は、クラスの表で、ほかと比べられないと言う。"""
    for i in range(12):
        solved(tmp_path / f"result-{i}.json", [1, 0], summary={"shots": 4} if i == 5 else {})
    out = step("analysis", "--table", cwd=tmp_path).stdout
    notes = [line for line in out.split("\n\n") if line.startswith("上下を比べられないもの:")]
    assert notes[0].splitlines()[1:] == [
        "- result-5: 解き方がほかと違う (--blank-question、--shots など)"
    ]


def test_result_of_one_genre_stands_in_the_table_of_the_quiz(tmp_path):
    """分野が 1 つの結果も、ほかの結果に分野がいくつもあれば、全問の表から消えない。"""
    solved(tmp_path / "result-a.json", [1, 0, 1, 1])
    solved(tmp_path / "result-b.json", [1])
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert list(table) == ["result-b", "result-a"]


def test_seeds_asked_in_two_ways_are_not_averaged(tmp_path):
    """例を見せた (--shots) 結果は、例のない結果の平均に入らず、代わりにもならない。"""
    for seed in (1, 2):
        trained(tmp_path / f"result-{seed}.json", seed, [1, 1, 0, 0])
    *rows, summary = read(tmp_path / "result-1.json")
    for row in rows:
        row["output"] = row["correct_answer"]
    write_result(tmp_path / "result-1-shots4.json", rows, **summary | {"shots": 4})
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| result-1、result-2 | 1, 2 | 4 | 0.5000 | 0.0000 |" in out
