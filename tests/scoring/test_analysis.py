"""手順5のコマンド: 打ち間違いと壊れた入力はどれも日本語の 1 行で、
終了コード 1 で、何も変えない。
"""

import json
import shutil
import sys

import pytest
from conftest import DEMO, ROOT, run, step, step_error, write_rows
from samples import record, solved, write_result


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """どの手順のファイルもそろった作業フォルダ。"""
    work = tmp_path_factory.mktemp("good")
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]
    write_rows(work / "source.json", *map(json.loads, lines))
    step("convert_eval", "source.json", cwd=work)
    solved(work / "result.json", [1, 0, 1])
    shutil.copy(ROOT / "qlora-opencalm.yml", work)
    return work


def result(text):
    return lambda work: (work / "result.json").write_text(text, encoding="utf-8")


def cut(work):
    raw = (work / "result.json").read_bytes()
    (work / "result.json").write_bytes(raw[:-60])


def without_hit(work):
    """2 件目の記録から hit を取る。"""
    records = json.loads((work / "result.json").read_text(encoding="utf-8"))
    del records[1]["hit"]
    (work / "result.json").write_text(json.dumps(records), encoding="utf-8")


def keep(work):
    pass


AGAIN = "python run_quiz.py"
# 名前: (作業フォルダにすること, 引数, 1 行に入っているはずのもの)
BAD = {
    "source": (keep, ["source.json"], ["変換する前の問題", AGAIN]),
    "quiz.json": (keep, ["quiz.json"], ["手順1か手順2で変換した問題", AGAIN]),
    "yaml": (keep, ["qlora-opencalm.yml"], ["qlora-opencalm.yml:1", AGAIN]),
    "no result": (
        lambda work: (work / "result.json").rename(work / "old.json"),
        [],
        ["result*.json", AGAIN],
    ),
    "named result missing": (
        keep,
        ["resutl.json"],
        ["resutl.json を読めません (そこにありません)", AGAIN],
    ),
    "a log": (keep, ["old.log", "no.json"], ["no.json を読めません"]),
    # ここにある result*.json を、代わりに読んではいけない
    "a log alone": (keep, ["result.log"], ["result.log は読みません"]),
    "cut": (cut, [], ["切れて", AGAIN]),
    "empty": (result(""), [], ["result.json:1", "空です", AGAIN]),
    "no record": (result('[{"elapsed_time": 1}]'), [], ["result.json", AGAIN]),
    "no hit": (
        without_hit,
        [],
        ["result.json:1", "'hit'", AGAIN],
    ),
    "figure over the result": (keep, ["--plot", "result.json"], ["--plot result.json", ".png"]),
    "page over the yaml": (keep, ["--html", "qlora-opencalm.yml"], ["--html", ".html"]),
    "two figures": (keep, ["--plot", "a.png", "--plot", "b.png"], ["--plot が 2 度"]),
    "two pages": (keep, ["--html=a.html", "--html", "a.html"], ["--html が 2 度"]),
}


def state(work):
    return {p.relative_to(work): p.read_bytes() for p in work.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, good, tmp_path):
    setup, options, expected = BAD[name]
    work = shutil.copytree(good, tmp_path / "work")
    setup(work)
    before = state(work)
    error = step_error("analysis", *options, cwd=work)
    assert all(text in error for text in expected), error
    assert "Traceback" not in error and "Errno" not in error and len(error) < 400
    assert state(work) == before


def test_flags_may_be_repeated(good):
    assert (
        step("analysis", "--table", "--table", cwd=good).stdout
        == step("analysis", "--table", cwd=good).stdout
    )


@pytest.mark.parametrize(
    "script, options",
    [
        ("run_quiz", ["--base", "--quiz", "quiz.json", "--quiz", "quiz.json"]),
        ("run_quiz", ["--max-questions", "1", "--max-questions", "2"]),
        ("convert_eval", ["--seed", "42", "--seed", "7"]),
        ("convert_train", ["-o", "a.json", "--output", "b.json"]),
    ],
)
def test_option_given_twice(script, options, good):
    """どの手順でも、値を取る引数を 2 度書けば断る (黙って最後の値だけを使わない)。"""
    assert "が 2 度あります" in step_error(script, *options, cwd=good)


@pytest.fixture
def three(tmp_path):
    """読める結果 2 つと、壊れた結果 1 つ。"""
    solved(tmp_path / "result-a.json", [1, 0, 1])
    solved(tmp_path / "result-b.json", [1, 1, 1])
    (tmp_path / "result-bad.json").write_text("[\n{", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "options", [[], ["--table", "--plot", "a.png", "--html", "a.html"], ["--errors"]]
)
def test_one_broken_result_does_not_stop_the_others(three, options):
    shown = step("analysis", *options, cwd=three)
    assert "result-a" in shown.stdout and "result-b" in shown.stdout
    assert shown.stderr.count("\n") == 1 and shown.stderr.startswith("注意: result-bad.json:2: ")


def test_broken_result_named(three):
    """名前を書いた結果が読めなければ、ほかを出してから、終了コード 1 で終わる。"""
    shown = step("analysis", "result-a.json", "result-bad.json", "no.json", cwd=three, status=1)
    assert "result-a.json" in shown.stdout
    assert (
        "注意: result-bad.json:2: " in shown.stderr and "注意: no.json を読めません" in shown.stderr
    )


TRAINING = {"seed": 1, "questions": 1, "steps_done": 1, "settings": {}, "train_files": {"a": "b"}}


@pytest.mark.parametrize(
    "record_change, summary_change",
    [
        ({"prompt": ["x"]}, {}),
        ({"question": {}}, {}),
        ({"rotation": [0]}, {}),
        ({}, {"quiz": "quiz.json"}),
        ({}, {"quiz": [1]}),
        ({}, {"model": ["m"]}),
        ({}, {"training": "x"}),
        ({}, {"training": {"train_files": {"a": "b"}}}),
        ({}, {"training": TRAINING | {"seed": "1"}}),
        ({}, {"training": TRAINING | {"train_files": ["a"]}}),
    ],
)
def test_one_odd_result_does_not_stop_the_table(record_change, summary_change, three):
    """型の違う項目のある結果は、名前を言って除く。ほかの結果の表は出る。"""
    write_result(three / "result-bad.json", [record(True) | record_change], **summary_change)
    shown = step("analysis", "--table", "--errors", "--html", "a.html", cwd=three)
    assert "result-a" in shown.stdout and "result-bad" not in shown.stdout
    assert shown.stderr.startswith("注意: result-bad.json") and shown.stderr.count("\n") == 1


def test_training_without_a_seed(three):
    """種や学習用のファイルの印が null でも、表は出る。種の平均には入れない。"""
    for name, seed in (("a", None), ("b", 2)):
        training = TRAINING | {"seed": seed, "train_files": {"a": None, "b": "c"}}
        solved(three / f"result-{name}.json", [1, 0], summary={"training": training})
    assert "種だけが違う学習 |" not in step("analysis", "--table", cwd=three).stdout


def test_results_without_seconds_are_no_copies(three):
    """かかった秒の記録がなくても、モデルか全体の時間が違えば、写しではない。"""
    for name, model in (("a", "x"), ("b", "y"), ("c", "y")):
        solved(three / f"result-{name}.json", [1, 0], model=model, seconds=None)
    notes = step("analysis", cwd=three).stderr.splitlines()
    copies = [note for note in notes if "(写し)" in note]
    assert len(copies) == 1 and "result-c.json" in copies[0] and "result-b.json" in copies[0]


def test_only_broken_results(three):
    """どれも読めなければ、どれについても言って終わる。"""
    for name in ("result-a.json", "result-b.json"):
        (three / name).write_text("[]", encoding="utf-8")
    error = step_error("analysis", cwd=three)
    assert (
        "result-a.json:1" in error and "result-b.json:1" in error and "result-bad.json:2" in error
    )


def test_unfinished_results_are_mentioned(tmp_path):
    """解きかけの結果 (途中のファイル) があれば、そう言う。"""
    solved(tmp_path / "result.json", [1, 0])
    for name in ("result-dev2.json.part0", "result-dev2.json.part1", "result-x.json.party"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    notes = step("analysis", cwd=tmp_path).stderr
    assert (
        "注意: result-dev2.json.part0: 手順4の途中です" in notes
        and "part1" in notes
        and "party" not in notes
    )
    (tmp_path / "result.json").unlink()
    assert "result-dev2.json.part0" in step_error("analysis", cwd=tmp_path)


def test_light_imports(tmp_path):
    """オプションがなければ、重いライブラリは読まない。"""
    write_result(tmp_path / "result.json", [record(True)])
    code = (
        "import sys, analysis; sys.argv = ['analysis.py']; analysis.main(); "
        "print({'scipy', 'matplotlib'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.endswith("set()\n")
