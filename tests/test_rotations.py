"""選択肢の順を変えて解かせた結果: 並べ方、まとめ方、選択肢だけの点。"""

import json

import pytest
from conftest import read, step, step_error
from samples import record, write_result

from quiz.prompt import Question, read_choice
from quiz.solving.results import Answer, write_results
from quiz.questions.converted import blank, rotate
from quiz.scoring.read_results import read_run

QUESTIONS = [Question("1?", ("あ", "い", "う"), 1, {"qid": "a"}), Question("2?", ("か", "き"), 0, {"qid": "b"})]


def solve(path, answer):
    """answer(問題) が答える番号と確率で、並べ替えた全問の結果を書き、手順5として読む。"""
    questions = rotate(QUESTIONS)
    given = [answer(q) for q in questions]
    answers = [Answer(i, q.lines[label], str(label), label == q.label, probs, 0.5)
               for i, (q, (label, probs)) in enumerate(zip(questions, given))]
    write_results(path, questions, answers, {"model": "m", "adapter": "a"}, ["quiz.json"])
    return read_run(str(path), [str(path)])


def test_every_choice_comes_to_every_label():
    rotated = rotate(QUESTIONS)
    assert [q.choices for q in rotated[:3]] == [("あ", "い", "う"), ("い", "う", "あ"), ("う", "あ", "い")] and len(rotated) == 5
    assert [q.label for q in rotated] == [1, 0, 2, 0, 1] and all(q.choices[q.label] in "いか" for q in rotated)
    assert [q.extra["rotation"] for q in rotated] == [0, 1, 2, 0, 1]
    assert "問題:  \n" in blank(QUESTIONS)[0].prompt and blank(QUESTIONS)[0].choices == QUESTIONS[0].choices


def test_one_who_knows_and_one_who_looks_at_the_position(tmp_path):
    """知っているモデルは、どの順でも正解。いつも 0 番を選ぶモデルは、順を変えると当てずっぽうで、同じ選択肢を選ばない。"""
    def know(q):
        return q.label, [0.9 if k == q.label else 0.01 for k in range(len(q.choices))]

    def first(q):
        return 0, [0.9] + [0.01] * (len(q.choices) - 1)

    run = solve(tmp_path / "result-know.json", know)
    assert [r["hit"] for r in run["records"]] == [True, True] and len(run["records"]) == 2
    solve(tmp_path / "result-first.json", first)
    lines = step("analysis", cwd=tmp_path).stdout.splitlines()
    shown = {line.split()[0]: lines[i + 2] for i, line in enumerate(lines) if line.startswith("result")}
    assert "正解率 1.00  どの順でも正解 1.00  どの順でも同じ選択肢 1.00" in shown["result-know.json"]
    records = json.loads((tmp_path / "result-know.json").read_text(encoding="utf-8"))
    for cut in (records[1:], [*records[:-2], records[-1]]):  # 途中の並びが欠けたもの
        (tmp_path / "result-cut.json").write_text(json.dumps(cut, ensure_ascii=False), encoding="utf-8")
        assert "result-cut.json" in step_error("analysis", "result-cut.json", cwd=tmp_path)
    assert "正解率 0.42  どの順でも正解 0.00  どの順でも同じ選択肢 0.00" in shown["result-first.json"]  # (1/3 + 1/2) / 2


def test_answer_is_that_of_the_averaged_probabilities(tmp_path):
    """1 問の答えは、番号の確率を選択肢ごとに平均して最大のもの。"""
    tables = {0: [0.5, 0.4, 0.1], 1: [0.2, 0.5, 0.3], 2: [0.6, 0.1, 0.3]}  # 並べ替え r での、番号ごとの確率

    def answer(q):
        probs = tables[q.extra["rotation"]][:len(q.choices)]
        return 0, probs

    record = solve(tmp_path / "result.json", answer)["records"][0]
    # あ: 0.5, 0.3, 0.1  い: 0.4, 0.2, 0.3  う: 0.1, 0.5, 0.6 (並べ替えの 0, 1, 2)
    assert record["probs"] == pytest.approx([0.3, 0.3, 0.4]) and record["likely"] == 2 and not record["hit"]


def test_rotations_and_blank_question_by_command(llama_run):
    """コマンドで解かせる。並べ替えは途中からも続き、分析は 1 問 1 件として読む。"""
    step("run_quiz", "--rotations", "--max-questions", "4", cwd=llama_run)
    *records, summary = read(llama_run / "result-rotations.json")
    assert [r["rotation"] for r in records] == [0, 1, 2, 3, 4] * 4 and len({r["qid"] for r in records}) == 4
    assert len({(r["qid"], r["correct_answer"].partition(": ")[2]) for r in records}) == 4
    step("run_quiz", "--blank-question", "--max-questions", "4", cwd=llama_run)
    assert all("問題:  \n" in r["prompt"] for r in read(llama_run / "result-blank.json")[:-1])
    out = step("analysis", "--table", "result-rotations.json", "result.json", cwd=llama_run).stdout
    assert "| result-rotations (順の平均)" in out and "| 4 |" in out and "p<" not in out


def test_number_and_text(tmp_path):
    """番号と文字の食い違いを、両方向に数える。"""
    records = [dict(record(True), out_str="2", output="2: は"), dict(record(False), out_str="1", output="1: ロ"),
               dict(record(False), out_str="0", output="0: に"), dict(record(True), out_str="2", output="2: ロ"),
               dict(record(False), out_str="1", output="1: 知らない"), dict(record(False), out_str="", output="ロ")]
    write_result(tmp_path / "result.json", records)
    out = step("analysis", "--errors", cwd=tmp_path).stdout
    assert "番号だけが正解 1、文字だけが正解 1、どちらも不正解 1" in out
    assert read_choice("2: ク: リ") == "ク: リ" and read_choice("クリオネ") == ""


def test_trainings_that_differ_only_in_the_seed(tmp_path):
    """種だけが違う 3 つの学習が 1 行になる。学習の量が違うものは、まとめない。"""
    for seed, hits, steps in ((1, [1, 1, 0, 0], 9), (2, [1, 1, 1, 0], 9), (3, [1, 1, 0, 0], 9), (4, [0, 0, 0, 0], 5)):
        rows = [{**record(bool(h)), "qid": f"q{i}"} for i, h in enumerate(hits)]
        summary = {"elapsed_time": 1, "model": "m", "adapter": f"out{seed}", "quiz": ["quiz.json"],
                   "training": {"seed": seed, "questions": 10, "steps_done": steps, "curve": []}}
        (tmp_path / f"result-{seed}.json").write_text(json.dumps([*rows, summary], ensure_ascii=False), encoding="utf-8")
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert "| result-2 | 2, 1, 3 |" not in out and "| 1, 2, 3 | 4 | 0.5833 | " in out and "| 0.1443 |" in out
