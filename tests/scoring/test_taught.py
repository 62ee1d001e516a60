"""学習が何を教えたか: どの数も、result.json から別の数行で数え直したものと同じ。"""

import json
import random
from collections import defaultdict
from hashlib import sha256

import pytest
from conftest import read, step, step_error
from samples import record_of, solved, wilson_roots, write_result

from quiz.prompt import Question
from quiz.questions.converted import rotate
from quiz.scoring.read_results import read_results
from quiz.scoring.taught import find_cases, steps_of

CHOICES = ("い", "ろろ", "ははは", "にににに")
STEPS = "学習前 生成", "学習前 番号の確率", "学習前 順の平均"
STEPS += "学習前 例つきの生成", "学習前 例つきの番号の確率"
STEPS += "学習前 文字 (合計)", "学習前 文字 (1 文字あたり)"
STEPS += "学習後 生成", "学習後 番号の確率"


def questions(n):
    rng = random.Random(5)
    made = []
    for i in range(n):
        choices = tuple(rng.sample(CHOICES, 4))
        made.append(Question(f"問い{i}?", choices, rng.randrange(4), {"qid": f"q{i}"}))
    return made


def answered(path, asked, accuracy, readable=1.0, adapter=None, by_text=False, **summary):
    """asked に、およそ accuracy の割合で正しく答えた結果。"""
    rng = random.Random(path.name)
    records = []
    for q in asked:
        probs = [rng.random() for _ in CHOICES]
        if rng.random() < accuracy:
            probs[q.label] = 1.2
        output = q.lines[probs.index(max(probs))] if rng.random() < readable else "さあ"
        made = record_of(q, output, probs)
        if by_text:
            made["text_log_probs"] = [-9 * rng.random() - len(c) for c in q.choices]
        records.append(made)
    write_result(path, records, model="m", adapter=adapter, quiz=["quiz.json"], **summary)
    return records


def all_results(work, n=60):
    """学習前のすべての聞き方と、学習後。学習用のファイルもある。"""
    asked = questions(n)
    answered(work / "result-base.json", asked, 0.4, 0.3, by_text=True)
    answered(work / "result-base-rotations.json", rotate(asked), 0.5, 0, rotations=True)
    answered(work / "result-base-shots4.json", asked, 0.5, 0.8, shots=4)
    trained = []
    for i, choices in enumerate((CHOICES, CHOICES[::-1])):
        q = Question(f"学習{i}?", choices, i)  # 正解は「い」と「ははは」
        trained.append({"instruction": q.prompt, "output": q.answer})
    file = work / "train-5-inst.json"
    file.write_text(json.dumps(trained, ensure_ascii=False), encoding="utf-8")
    files = {file.name: sha256(file.read_bytes()).hexdigest()}
    training = {"seed": 1, "questions": 2, "steps_done": 1, "settings": {}, "train_files": files}
    answered(work / "result.json", asked, 0.9, adapter="./out", training=training)


def rows_of(out):
    """表の行を {初めの欄: ほかの欄} にする。"""
    lines = [line.split("|") for line in out.splitlines() if line.startswith("| ")]
    return {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines}


# --- 数え直し: result.json だけから


def argmax(values):
    return max(range(len(values)), key=lambda k: values[k])


def right(record):
    return int(record["correct_answer"][0])


def texts(record):
    return [line[3:] for line in record["input"].split("\n") if line]


def recounted(work):
    """段ごとの、問題の順の正誤。"""
    base, turned, shots, tuned = (
        read(work / f"result{name}.json")[:-1]
        for name in ("-base", "-base-rotations", "-base-shots4", "")
    )
    total = defaultdict(lambda: defaultdict(float))
    for r in turned:
        for text, p in zip(texts(r), r["choice_probs"]):
            total[r["qid"]][text] += p
    averaged = []
    for r in base:
        sums = total[r["qid"]]
        averaged.append(max(sums, key=sums.get) == r["correct_answer"][3:])

    def generated(records):
        return [r["output"][:1] == r["correct_answer"][0] for r in records]

    def label(records):
        return [argmax(r["choice_probs"]) == right(r) for r in records]

    per_character = []
    for r in base:
        scores = [p / len(c) for p, c in zip(r["text_log_probs"], texts(r))]
        per_character.append(argmax(scores) == right(r))
    in_sum = [argmax(r["text_log_probs"]) == right(r) for r in base]
    columns = [generated(base), label(base), averaged, generated(shots), label(shots)]
    columns += [in_sum, per_character, generated(tuned), label(tuned)]
    return dict(zip(STEPS, columns))


def test_every_number_is_recounted(tmp_path):
    """段の正解率、区間、前の段との差。"""
    all_results(tmp_path)
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    shown = rows_of(out)
    expected = recounted(tmp_path)
    assert [name for name in shown if name in STEPS] == list(STEPS)
    before = None
    for name, hits in expected.items():
        accuracy, interval, difference, ends, _ = shown[name]
        n = len(hits)
        assert accuracy == f"{sum(hits) / n:.3f}"
        assert interval == "{:.3f}-{:.3f}".format(*wilson_roots(sum(hits), n))
        if before is None:
            assert difference == ends == "-"
        else:
            gain = (sum(hits) - sum(before)) / n
            # どちらかだけが正解した問題を 1 問ずつ足した、割合の差の分散
            moved = [a - b for a, b in zip(hits, before)] + [1, -1]
            mean = sum(moved) / (n + 2)
            spread = (sum(m * m for m in moved) / (n + 2) - mean**2) / (n + 2)
            low, high = mean - 1.959964 * spread**0.5, mean + 1.959964 * spread**0.5
            assert (difference, ends) == (f"{gain:+.3f}", f"{low:+.3f} から {high:+.3f}")
        before = hits
    # 2 つの文は、学習前に番号で聞いた最も高い段と、ほかの聞き方の最も高い段との差を言う
    items = list(expected.items())
    tuned = sum(expected["学習後 生成"])
    for start, earlier in (("意味: ", items[:3]), ("言えないこと: ", items[3:7])):
        name, best = max(earlier, key=lambda item: sum(item[1]))
        gain = (tuned - sum(best)) / 60
        said = next(line for line in out.splitlines() if line.startswith(start))
        assert f"「{name}」({sum(best) / 60:.3f}) の差は {gain:+.3f} (" in said
    assert len({tuple(hits) for hits in expected.values()}) > 6  # 段の取り違えが見える


def test_parts_are_recounted(tmp_path):
    """学習前に知っていたかと、正解が学習用の問題の正解にあったかで分けた表。"""
    all_results(tmp_path)
    shown = rows_of(step("analysis", "--taught", cwd=tmp_path).stdout)
    known = defaultdict(list)
    for r in read(tmp_path / "result-base-rotations.json")[:-1]:
        known[r["qid"]].append(argmax(r["choice_probs"]) == right(r))
    base = {r["qid"]: r for r in read(tmp_path / "result-base.json")[:-1]}
    inside = defaultdict(list)
    for r in read(tmp_path / "result.json")[:-1]:
        hits = sum(known[r["qid"]])
        level = "どの順でも正解" if hits == 4 else "一部の順で正解" if hits else "どの順でも不正解"
        inside[f"学習前 {level}"].append(r)
        seen = "ある" if r["correct_answer"][3:] in ("い", "ははは") else "ない"
        inside[f"正解が学習用の問題の正解に{seen}"].append(r)
    assert len(inside) == 5
    for name, records in inside.items():
        n = len(records)
        hits = sum(r["output"][0] == r["correct_answer"][0] for r in records)
        likely = sum(argmax(base[r["qid"]]["choice_probs"]) == right(r) for r in records)
        sure = sum(max(r["choice_probs"]) / sum(r["choice_probs"]) for r in records)
        interval = "{:.3f}-{:.3f}".format(*wilson_roots(hits, n))
        numbers = [f"{x / n:.3f}" for x in (likely, hits)]
        assert shown[name] == [str(n), *numbers, interval, f"{sure / n:.3f}"]


def test_training_file_that_changed(tmp_path):
    """学習のときと中身の違う学習用ファイルでは、正解を見たかを言わない。"""
    all_results(tmp_path)
    with (tmp_path / "train-5-inst.json").open("a") as f:
        f.write("\n")
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    assert "正解にある" not in out and "学習のときと中身が違う" in out
    assert "どの順でも正解 |" in out


def test_data_for_the_figure(tmp_path):
    """figure.py に渡す段は、表と同じもの。"""
    all_results(tmp_path)
    results, _ = read_results([str(path) for path in tmp_path.glob("result*.json")])
    made = steps_of(find_cases(results)[0])
    assert [s.name for s in made] == list(STEPS)
    for s in made:
        hits = recounted(tmp_path)[s.name]
        assert (s.n, s.accuracy) == (60, pytest.approx(sum(hits) / 60))
        assert tuple(s.interval) == pytest.approx(wilson_roots(sum(hits), 60))
    assert find_cases([]) == []
    step("analysis", "--taught", "--plot", "a.svg", cwd=tmp_path)
    assert "学習が教えたこと" in (tmp_path / "a.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "there, missing",
    [
        (["result"], ["--base --by-text", "--base --rotations", "--base --shots 4"]),
        (["result", "result-base"], ["--base --rotations", "--base --shots 4"]),
        (["result-base"], ["--base --rotations", "--base --shots 4", ""]),
        (["result-base-rotations", "result-base-shots4", "result"], ["--base --by-text"]),
    ],
)
def test_what_is_not_there_yet(there, missing, tmp_path):
    """一部の結果だけでも、出せるものを出し、残りのコマンドを言う。"""
    all_results(tmp_path)
    names = [f"{name}.json" for name in there]
    out = step("analysis", "--taught", *names, cwd=tmp_path).stdout
    commands = [
        line.split("run_quiz.py")[1].strip() for line in out.splitlines() if "run_quiz.py" in line
    ]
    assert commands == missing
    assert len([name for name in rows_of(out) if name in STEPS]) >= 2
    assert ("意味: " in out) == (len(there) > 1)


def test_without_rotations_the_text_tells_what_was_known(tmp_path):
    all_results(tmp_path)
    out = step("analysis", "--taught", "result.json", "result-base.json", cwd=tmp_path).stdout
    hits = recounted(tmp_path)["学習前 文字 (1 文字あたり)"]
    shown = rows_of(out)
    assert shown["学習前 文字 (1 文字あたり) 正解"][0] == str(sum(hits))
    assert shown["学習前 文字 (1 文字あたり) 不正解"][0] == str(60 - sum(hits))


def test_only_common_questions_of_the_same_model(tmp_path):
    """問題の一部だけを解いた学習前とは、その問題で比べる。別のモデルとは比べない。"""
    all_results(tmp_path)
    answered(tmp_path / "result-base.json", questions(60)[:25], 0.5)
    other = read(tmp_path / "result-base-shots4.json")
    other[-1]["model"] = "other"
    (tmp_path / "result-base-shots4.json").write_text(json.dumps(other), encoding="utf-8")
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    tuned = read(tmp_path / "result.json")[:25]
    hits = sum(r["output"][0] == r["correct_answer"][0] for r in tuned)
    shown = rows_of(out)
    assert "(同じ 25 問)" in out and shown["学習後 生成"][-1] == "result (60 問)"
    assert shown["学習後 生成"][0] == f"{hits / 25:.3f}" and "学習前 例つきの生成" not in shown


def test_nothing_to_show(tmp_path):
    solved(tmp_path / "result-blank.json", [1, 0], summary={"blank_question": True})
    error = step_error("analysis", "--taught", "--html", "page.html", cwd=tmp_path)
    assert "run_quiz.py --base --by-text" in error and not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "log_probs",
    [[-1], [-1, -2, -3, 1], [-1, -2, -3, float("nan")], "----", [-float("inf")] * 4],
)
def test_log_probs_that_cannot_be(log_probs, tmp_path):
    solved(tmp_path / "result.json", [1])
    records = read(tmp_path / "result.json")
    records[0]["text_log_probs"] = log_probs
    (tmp_path / "result.json").write_text(json.dumps(records), encoding="utf-8")
    assert "result.json:1" in step_error("analysis", cwd=tmp_path)


@pytest.mark.parametrize(
    "used, unused, changes",
    [
        ("result-base-shots4", "result-base-shots1", {"shots": 1}),
        ("result-base", "result-base-a", {}),
    ],
)
def test_the_most_telling_result_of_a_step_is_used(used, unused, changes, tmp_path):
    """同じ段の結果が 2 つあれば、例の多い方、文字でも聞いた方を使い、もう 1 つの名前を言う。"""
    all_results(tmp_path)
    answered(tmp_path / f"{unused}.json", questions(60), 0.1, **changes)
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    shown = rows_of(out)
    assert f"{used} (60 問)" in {cells[-1] for cells in shown.values()}
    assert f"\n- {unused}\n" in out.split("使わなかった結果")[1]
    assert out.count("使わなかった結果") == 1 and "学習前 文字 (合計)" in shown


def test_result_that_is_no_step_is_named(tmp_path):
    """学習後に例を見せた結果は、段にならない。黙って捨てず、名前を言う。"""
    all_results(tmp_path)
    assert "使わなかった結果" not in step("analysis", "--taught", cwd=tmp_path).stdout
    answered(tmp_path / "result-shots4.json", questions(60), 0.9, adapter="./out", shots=4)
    out = step("analysis", "--taught", cwd=tmp_path).stdout
    assert "\n- result-shots4\n" in out.split("使わなかった結果")[1]
